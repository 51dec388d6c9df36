"""Addresses of machines in user mode.

Each has a network of its own behind QEMU's address translation, which nobody else sees. They would all be 10.0.2.15; a
cluster needs nodes with different addresses, so that each gets another network, out of a range that seldom meets a
user's (RFC 6598).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection, Iterator
from typing import Final

from autonodes.provider import ProviderError
from providers.libvirt.domains import USER_PREFIX

RANGE: Final = ipaddress.IPv4Network("100.72.0.0/13")
_MACHINE: Final = 15
"""The first address that QEMU's DHCP server gives: the network's and 15. Its own is 2, its name server's is 3."""


def address_of(claim_uid: str, taken: Collection[str], *, avoided: str | None = None) -> str:
    """A free address for a claim; it follows from its UID, so that an address rests for long before another has it.

    :param avoided: an address that machines must reach, so that it can't lie in their own network
    :raises ProviderError: all are taken
    """
    outside = ipaddress.IPv4Address(avoided) if avoided else None
    for network in _networks(claim_uid):
        address = str(network.network_address + _MACHINE)
        if address not in taken and (outside is None or outside not in network):
            return address
    raise ProviderError(f"no network is free in {RANGE}")


def _networks(claim_uid: str) -> Iterator[ipaddress.IPv4Network]:
    count = 1 << (USER_PREFIX - RANGE.prefixlen)
    first = int.from_bytes(hashlib.sha256(claim_uid.encode()).digest()[:8], "big")
    for step in range(count):
        start = int(RANGE.network_address) + ((first + step) % count << (32 - USER_PREFIX))
        yield ipaddress.IPv4Network((start, USER_PREFIX))
