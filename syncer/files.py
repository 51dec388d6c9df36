"""Files that are whole or absent.

A reader, or a process that is killed half-way, never sees a part of a file: the content goes to a neighbour in the
same directory, is flushed to the disk and takes the name by rename(2).
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700

_serial = itertools.count()


def write_atomically(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Write or replace ``path``; its permission bits are ``mode`` from the first moment on.

    :raises OSError: nothing was changed (no space, no permission)
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}-{next(_serial)}")
    try:
        with open(aside, "wb", opener=_private) as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
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
