"""Free ports, and who has those that are taken."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection, Iterator
from pathlib import Path

from autonodes.core.errors import EnvironmentFault

_LISTENING = "0A"
_LAST_PORT = 65535


def free_port(preferred: int, *, address: str, reserved: Collection[int] = ()) -> int:
    """``preferred`` or the next one that is free.

    :param reserved: ports that belong to others even if nobody listens now
    :raises EnvironmentFault: there is none
    """
    for port in range(preferred, _LAST_PORT + 1):
        if port not in reserved and is_free(port, address=address):
            return port
    raise EnvironmentFault(f"no free port above {preferred}", "end something that listens")


def is_free(port: int, *, address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT don't count
        try:
            probe.bind((address, port))
            probe.listen()
        except OSError:
            return False
    return True


def check_free(port: int, *, address: str, remedy: str) -> None:
    """:raises EnvironmentFault: it is taken; the text names the process"""
    if not is_free(port, address=address):
        raise EnvironmentFault(f"port {port} on {address} is taken by {owner(port) or 'another process'}", remedy)


def owner(port: int) -> str | None:
    """The process that listens there, as ``name (pid 123)``; None if it can't be known."""
    inodes = set(_listening_inodes(port))
    for entry in Path("/proc").iterdir() if inodes else ():
        if entry.name.isdecimal() and inodes & _sockets(entry):
            with contextlib.suppress(OSError):
                return f"{(entry / 'comm').read_text().strip()} (pid {entry.name})"
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _sockets(process: Path) -> set[str]:
    """Inodes of the sockets that a process has open; empty if it is gone or another user's."""
    found = set()
    try:
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(link.readlink())
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    except OSError:
        return set()
    return found
