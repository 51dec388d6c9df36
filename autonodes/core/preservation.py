"""Keeping a failed node for whoever wants to look at it: the annotation ``autonodes.io/preserve-until``.

It names a moment (RFC 3339) and may stand on the NodeClaim or on the Node; the later one counts. Until then the node is
neither repaired nor given up by a deadline, nor does it expire. Whoever deletes it on purpose still does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from autonodes.core.errors import ConfigError
from autonodes.core.labels import PRESERVE_UNTIL

_PATH: Final = f'metadata.annotations["{PRESERVE_UNTIL}"]'


def preserved_until(*annotations: Mapping[str, str]) -> tuple[float, tuple[ConfigError, ...]]:
    """Seconds since the epoch, 0 for nothing to preserve; and what is wrong with the annotations, which then don't
    count.

    :param annotations: of the claim and of its node
    """
    moments, faults = [0.0], []
    for text in _values(annotations):
        try:
            moments.append(_moment(text))
        except ConfigError as fault:
            faults.append(fault)
    return max(moments), tuple(faults)


def _values(annotations: Iterable[Mapping[str, str]]) -> list[str]:
    return sorted({each[PRESERVE_UNTIL] for each in annotations if PRESERVE_UNTIL in each})


def _moment(text: str) -> float:
    """:raises ConfigError: no moment, or one that depends on where one is"""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        raise ConfigError(_PATH, text, 'write a moment with its time zone, such as "2030-01-31T18:00:00Z"')
    return read.timestamp()
