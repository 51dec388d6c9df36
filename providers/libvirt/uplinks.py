"""The address under which machines on this very host reach the API server.

A machine in user mode opens connections as this host does, one on a network of this host asks the host first. So an
address on the loopback interface is enough, and nobody outside of this host sees it. Setting it needs root.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from urllib.parse import urlsplit

from autonodes.core.errors import EnvironmentFault

_INTERFACE = "lo"


def is_this_host(uri: str) -> bool:
    """Whether a hypervisor's machines run here."""
    return not urlsplit(uri).hostname


def address(uplink: str) -> str:
    """This host's end."""
    return str(ipaddress.IPv4Interface(uplink).network[1])


async def ensure(uplink: str) -> None:
    """This host has the address.

    :raises EnvironmentFault: it can't be set
    """
    if address(uplink) in await _ip("-4", "-o", "address", "show", "to", f"{address(uplink)}/32"):
        return
    try:
        await _ip("address", "replace", f"{address(uplink)}/32", "dev", _INTERFACE)
    except EnvironmentFault as error:
        raise EnvironmentFault(
            f"machines on this host can't reach the API server at {address(uplink)}: {error.problem}",
            "run `sudo autonodes up`, or set controlPlane.endpoint to an address of this host that they reach",
        ) from error


async def release(uplink: str) -> None:
    """This host has it no longer, or never had."""
    with contextlib.suppress(EnvironmentFault):
        await _ip("address", "del", f"{address(uplink)}/32", "dev", _INTERFACE)


async def _ip(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "ip", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complained = await process.communicate()
    if process.returncode != 0:
        raise EnvironmentFault(complained.decode(errors="replace").strip(), "apt-get install iproute2; run as root")
    return said.decode(errors="replace")
