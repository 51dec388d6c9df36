"""Files that are whole or absent.

A reader, or a process that is killed half-way, never sees a part of a file: the content goes to a neighbour in the same
directory and takes the name by rename(2). That holds while the machine runs. What could not be made again after a power
failure is also flushed to the disk: `write_durably`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700

_serial = itertools.count()


def write_atomically(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Write or replace ``path``; its permission bits are ``mode`` from the first moment on.

    :raises OSError: nothing was changed (no space, no permission)
    """
    _write(path, content, mode, flush=lambda descriptor: None)


def write_durably(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """As `write_atomically`, and it survives a power failure."""
    _write(path, content, mode, flush=os.fsync)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write(path: Path, content: bytes, mode: int, *, flush: Callable[[int], None]) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}-{next(_serial)}")
    try:
        with open(aside, "wb", opener=_private) as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            flush(file.fileno())
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE)


def make_private_directory(path: Path) -> None:
    """Make ``path`` and its parents; ``path`` itself is for its owner only, also if it was there before."""
    path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    path.chmod(PRIVATE_DIRECTORY)
