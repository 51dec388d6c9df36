"""Addresses for the links between this machine and its nodes: a /30 for each cluster, out of 100.64.0.0/10.

That range is for carriers' own use (RFC 6598), so it seldom meets a user's network; what this machine has a route or an
address in is passed over.
"""

from __future__ import annotations

import hashlib
import ipaddress
import subprocess
from collections.abc import Iterable
from typing import Final

from autonodes.core.errors import EnvironmentFault

RANGE: Final = ipaddress.IPv4Network("100.64.0.0/10")
_PREFIX: Final = 30
_COUNT: Final = 1 << (_PREFIX - RANGE.prefixlen)


def choose_uplink(key: str, *, taken: Iterable[str]) -> str:
    """The link of ``key``, always the same unless it is taken.

    :param taken: links of other clusters
    :raises EnvironmentFault: none is left
    """
    in_use = [ipaddress.IPv4Network(each) for each in taken] + _networks_of_this_machine()
    first = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
    for step in range(_COUNT):
        start = int(RANGE.network_address) + ((first + step) % _COUNT) * 4
        link = ipaddress.IPv4Network((start, _PREFIX))
        if not any(link.overlaps(network) for network in in_use):
            return str(link)
    raise EnvironmentFault(f"this machine has routes for all of {RANGE}", "free a part of that range")


def host_address(uplink: str) -> str:
    """This machine's end."""
    return str(ipaddress.IPv4Network(uplink)[1])


def _networks_of_this_machine() -> list[ipaddress.IPv4Network]:
    """Destinations of all routes within the range; a wider route (the default one) is no obstacle."""
    try:
        done = subprocess.run(["ip", "-4", "route", "show", "table", "all"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    networks = []
    for line in done.stdout.splitlines():
        words = [word for word in line.split() if word not in ("local", "broadcast", "unicast", "blackhole")]
        try:
            network = ipaddress.IPv4Network(words[0])
        except (ValueError, IndexError):
            continue
        if network.subnet_of(RANGE) and network.prefixlen > RANGE.prefixlen:
            networks.append(network)
    return networks
