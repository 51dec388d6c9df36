"""Ports that clusters of this machine have chosen but may not listen on yet.

Two clusters that come up at the same moment, even in two homes, must not choose the same port. So the choice is made
under a lock, and each leaves its ports in its run directory, where the next one reads them. A cluster that is stopped
keeps them; a reboot clears them, and then its record and what listens decide.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from autonodes.core.errors import EnvironmentFault
from syncer.files import make_private_directory, write_atomically

_FILE: Final = "ports"
_PATIENCE: Final = 10.0
_POLL: Final = 0.01


@contextlib.contextmanager
def choosing() -> Iterator[None]:
    """Nobody else of this user chooses meanwhile.

    :raises EnvironmentFault: somebody does, for an unlikely time
    """
    deadline = time.monotonic() + _PATIENCE
    with socket.socket(socket.AF_UNIX) as lock:
        while True:
            try:
                lock.bind(f"\0autonodes/{os.geteuid()}/ports")
            except OSError as error:
                if time.monotonic() > deadline:
                    raise EnvironmentFault("another `autonodes` is choosing ports", "try again") from error
                time.sleep(_POLL)
            else:
                yield
                return


def reserve(run_dir: Path, ports: tuple[int, ...]) -> None:
    make_private_directory(run_dir)
    write_atomically(run_dir / _FILE, " ".join(map(str, ports)).encode())


def reserved(run_dir: Path) -> set[int]:
    """By all clusters but the one whose run directory this is."""
    found: set[int] = set()
    for file in run_dir.parent.glob(f"*/{_FILE}"):
        if file.parent != run_dir:
            with contextlib.suppress(OSError, ValueError):
                found.update(int(port) for port in file.read_text().split())
    return found
