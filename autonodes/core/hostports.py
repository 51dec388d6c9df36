"""Host ports: two pods can't share an address, a port and a protocol of one node.

The unspecified addresses (``0.0.0.0``, ``::`` and none) stand for every address of the host.
"""

from __future__ import annotations

from collections.abc import Iterable

from autonodes.core.model import HostPort

EVERY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 -- compared with, not bound to


def conflict(port: HostPort, taken: HostPort) -> bool:
    if port.port != taken.port or (port.protocol or "TCP") != (taken.protocol or "TCP"):
        return False
    return port.ip == taken.ip or port.ip in EVERY_ADDRESS or taken.ip in EVERY_ADDRESS


def first_conflict(ports: Iterable[HostPort], taken: Iterable[HostPort]) -> HostPort | None:
    """The first of ``ports`` that can't be had beside ``taken``."""
    listed = tuple(taken)
    return next((port for port in ports if any(conflict(port, other) for other in listed)), None)


def format_port(port: HostPort) -> str:
    """``0.0.0.0:8080/TCP``"""
    return f"{port.ip or '0.0.0.0'}:{port.port}/{port.protocol}"  # noqa: S104 -- shown, not bound to
