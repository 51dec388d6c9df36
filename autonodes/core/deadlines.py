"""How long a claim may stay in each phase on its way in; a pool may say otherwise by annotations.

Each phase has a deadline, the first included, and none can be switched off: a claim that waits for ever holds its pods'
place in every plan. A pool's value that can't be read counts as none, so that one bad annotation stops nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from autonodes.core.durations import parse_duration
from autonodes.core.errors import ConfigError
from autonodes.core.labels import INITIALIZATION_TIMEOUT, LAUNCH_TIMEOUT, REGISTRATION_TIMEOUT

_FIELDS: Final = {
    "launch": LAUNCH_TIMEOUT,
    "registration": REGISTRATION_TIMEOUT,
    "initialization": INITIALIZATION_TIMEOUT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds, each from the phase before.

    :param launch: from the claim's creation to a machine
    :param registration: from the machine to its Node
    :param initialization: from the Node to one that counts, its GPUs and other devices present
    """

    launch: float
    registration: float
    initialization: float


def of_pool(annotations: Mapping[str, str], defaults: Deadlines) -> tuple[Deadlines, tuple[ConfigError, ...]]:
    """A pool's deadlines, and what is wrong with its annotations."""
    chosen: dict[str, float] = {}
    faults = []
    for name, key in _FIELDS.items():
        if key in annotations:
            try:
                chosen[name] = _seconds(annotations[key], f'metadata.annotations["{key}"]')
            except ConfigError as fault:
                faults.append(fault)
    return replace(defaults, **chosen), tuple(faults)


def _seconds(text: str, path: str) -> float:
    """:raises ConfigError: no duration, or one that is no deadline"""
    seconds = parse_duration(text, path=path)
    if seconds is None or seconds <= 0:
        raise ConfigError(path, text, 'write how long that may take, longer than nothing, such as "20m"')
    return seconds
