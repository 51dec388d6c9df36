"""The directory of components that every machine sees read-only at ``/opt/autonodes/bin``.

It holds hard links, or copies where the components lie on another file system, and is named by what is in it: a machine
keeps the programs that it was started with when the components are replaced. It must be one whole directory, and not a
bind mount for each file, because runc runs from an overlay of the directory that it lies in, which sees no mounts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path


def collect(binaries: Mapping[str, str], directory: Path) -> Path:
    """Make the directory below ``directory`` if it isn't there. The caller keeps others from doing the same.

    :raises OSError: the disk is full, …
    """
    done = directory / fingerprint(binaries)
    if not done.exists():
        aside = done.with_name(f".{done.name}.new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for name, source in binaries.items():
            _place(Path(source), aside / name)
        aside.rename(done)
    return done


def fingerprint(binaries: Mapping[str, str]) -> str:
    """Changes when a program is replaced."""
    digest = hashlib.sha256()
    for name, source in sorted(binaries.items()):
        status = Path(source).stat()
        digest.update(f"{name} {status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)
