"""From a component's last words to what a user can do about it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from autonodes.cli.ports import owner
from autonodes.core.errors import EnvironmentFault


class ComponentFault(EnvironmentFault):
    """A component does not do its work.

    :param component: its name, as in ``autonodes status``
    :param lines: the end of its log
    """

    def __init__(self, component: str, what: str, lines: Sequence[str], remedy: str) -> None:
        words = "".join(f"\n  | {line}" for line in lines)
        super().__init__(f"{component} {what}{words}", remedy)
        self.component, self.lines = component, tuple(lines)


def diagnose(component: str, what: str, lines: Sequence[str], *, log: Path) -> ComponentFault:
    """:param what: is wrong with it, as a verb phrase"""
    text = "\n".join(lines)
    remedy = next((say(found, log) for pattern, say in _KNOWN if (found := pattern.search(text))), f"see {log}")
    return ComponentFault(component, what, lines, remedy)


def _port_taken(found: re.Match[str], log: Path) -> str:
    port = int(found["port"])
    by = owner(port)
    return f"port {port} is taken" + (f" by {by}" if by else "") + ": end that process, or choose another port"


def _disk_full(found: re.Match[str], log: Path) -> str:
    free = shutil.disk_usage(log.parent).free >> 20
    return f"the disk is full ({free} MiB free for {log.parent}): make room and run `autonodes up` again"


def _fixed(text: str) -> Callable[[re.Match[str], Path], str]:
    return lambda found, log: text


_KNOWN: Final[Sequence[tuple[re.Pattern[str], Callable[[re.Match[str], Path], str]]]] = (
    (re.compile(r":(?P<port>\d+): (?:socket: )?bind: address already in use"), _port_taken),
    (re.compile(r"can't listen on \S+:(?P<port>\d+)"), _port_taken),
    (re.compile(r"[Nn]o space left on device|database or disk is full|disk I/O error|ENOSPC"), _disk_full),
    (
        re.compile(r"file is not a database|database disk image is malformed"),
        _fixed("the database is damaged: restore db/state.db from a backup, or start over with `autonodes down`"),
    ),
    (
        re.compile(r"[Ee]xec format error"),
        _fixed("the component was made for another kind of machine: `autonodes components --verify` shows which"),
    ),
    (
        re.compile(r"[Tt]oo many open files"),
        _fixed("raise the limit of open files (ulimit -n, fs.file-max, fs.inotify.max_user_instances)"),
    ),
    (
        re.compile(r"certificate has expired or is not yet valid"),
        _fixed("check this machine's clock, then run `autonodes up` again: it renews certificates"),
    ),
    (re.compile(r"[Oo]ut of memory|cannot allocate memory"), _fixed("this machine is out of memory: make room")),
)
"""Patterns of the components' own messages, the most telling first."""
