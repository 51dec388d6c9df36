"""Files that are whole or absent.

A reader, or a process that is killed half-way, never sees a part of a file: the content goes to a neighbour in the
same directory, is flushed to the disk and takes the name by rename(2).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700


def write_atomically(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Write or replace ``path``; its permission bits are ``mode`` from the first moment on.

    :raises OSError: nothing was changed (no space, no permission)
    """
    descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).rename(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def make_private_directory(path: Path) -> None:
    """Make ``path`` and its parents; ``path`` itself is for its owner only, also if it was there before."""
    path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    path.chmod(PRIVATE_DIRECTORY)
