"""The processes' log files, held to a size.

A file is copied aside and cut off in place, so the process keeps writing to the file that it has open (append mode, so
the next write lands at the new end). What is written between copy and cut is lost; the processes need no signal and
the supervisor no pipe.
"""

from __future__ import annotations

import os
from pathlib import Path

LIMIT = 16 << 20
"""Bytes a log may have before it is rotated; with the rotated one a process takes at most twice as many."""


def open_log(path: Path) -> int:
    """A descriptor for standard output and error; of /dev/null when the log can't be written (disk full)."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def rotate(path: Path, *, limit: int = LIMIT) -> None:
    """Keep the last ``limit`` bytes or more in ``PATH.1`` and start over, if it is time."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    if size <= limit:
        return
    try:
        _copy(path, path.with_name(path.name + ".1"))
    except OSError:
        path.with_name(path.name + ".1").unlink(missing_ok=True)  # no space for it: all the more reason to cut
    os.truncate(path, 0)


def tail(path: Path, *, lines: int) -> list[str]:
    """The last ``lines`` lines, fewer if there are no more."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 1000 * lines))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as write:
        target.chmod(0o600)
        remaining = source.stat().st_size
        while remaining > 0 and (sent := os.sendfile(write.fileno(), read.fileno(), None, remaining)):
            remaining -= sent
