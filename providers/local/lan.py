"""The network that a cluster's machines share: a LAN behind a router that translates addresses.

One network namespace for each cluster holds a bridge, to which every machine is linked, and a router: the bridge's own
address is the machines' gateway, and a veth pair (the uplink) leads to this host. The router masquerades what goes
out and lets nothing new in, and this host has no route to the LAN; so a machine dials out and nobody dials in, as
with a machine behind a home router. The LAN's range is the same for every cluster: it is never seen outside.

Nothing but the namespace needs to be kept: it is pinned by a bind mount, and when that goes, the links go with it.
`Lan.ensure` is level-triggered: it repairs whatever is missing.

With ``egress`` this host passes the machines' packets on, so that they can pull images and reach what this host
reaches: forwarding is turned on, and stays on. Without it they reach this host and no further, whether it forwards for
others or not. Either is held by an nftables table of the uplink's name on this host. A host whose own firewall drops
forwarded packets needs a rule for the uplink there.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from autonodes.provider import ProviderError
from providers.local.machine.link import BRIDGE
from providers.local.machine.order import Network

RANGE: Final = ipaddress.IPv4Network("10.88.0.0/16")
GATEWAY: Final = RANGE.network_address + 1
UPLINK: Final = "uplink"
"""The name of the router's end; the host's end is named after the cluster, `Lan.link`."""


class CommandError(ProviderError):
    """A system tool failed; ``said`` is its standard error."""

    def __init__(self, command: tuple[str, ...], said: str) -> None:
        super().__init__(command, said)
        self.command, self.said = command, said

    def __str__(self) -> str:
        return f"{' '.join(self.command[:3])} …: {self.said.strip()}"


def address_of(claim_uid: str, taken: Collection[str]) -> str:
    """A free address of the LAN for a claim.

    It follows from the claim's UID, so that a repeated attempt finds the same, and an address rests for long before
    another machine has it.

    :raises ProviderError: the LAN is full
    """
    return next(address for address in _addresses(claim_uid) if address not in taken)


def _addresses(claim_uid: str) -> Iterator[str]:
    size = RANGE.num_addresses - 3  # without the network's, the gateway's and the broadcast address
    start = int.from_bytes(hashlib.sha256(claim_uid.encode()).digest()[:8], "big")
    for step in range(size):
        yield str(GATEWAY + 1 + (start + step) % size)
    raise ProviderError(f"no address is free in {RANGE}")


class Lan:
    """:param pin: the file that keeps the namespace
    :param key: short and unique on this host for the cluster, at most 12 characters
    :param uplink: as `autonodes.provider.ProviderContext.uplink`
    """

    def __init__(self, pin: Path, *, key: str, uplink: str, egress: bool) -> None:
        self._pin, self._egress = pin.absolute(), egress
        self.link: Final = f"an-{key}"
        self._uplink = ipaddress.IPv4Interface(uplink).network
        self._host, self._router = list(self._uplink.hosts())[:2]
        self._ensured = False

    def network(self, address: str) -> Network:
        """The place of a machine with this address."""
        octets = ipaddress.IPv4Address(address).packed
        return Network(
            lan=str(self._pin),
            port="m" + "-".join(str(octet) for octet in octets[2:]),
            address=f"{address}/{RANGE.prefixlen}",
            mac="0a:58:" + ":".join(f"{octet:02x}" for octet in octets),
            gateway=str(GATEWAY),
        )

    async def ensure(self, lock: int) -> None:
        """Make what is missing.

        :param lock: what keeps others from doing the same; the tools inherit it, so that one which outlives a killed
            caller still keeps them away
        :raises CommandError: a tool failed
        """
        if self._ensured and self._pinned() and self._linked():
            return
        if not self._pinned():
            self._pin.touch()
            await run("unshare", f"--net={self._pin}", "true", lock=lock)
        if not self._linked():
            peer = ("peer", "name", UPLINK, "netns", str(self._pin))
            await run("ip", "link", "add", self.link, "type", "veth", *peer, lock=lock)
        address = f"{self._host}/{self._uplink.prefixlen}"
        await run("sh", "-ec", _HOST_LINK.format(link=self.link, address=address), lock=lock)
        await self._furnish_router(lock)
        await self._furnish_host(lock)
        self._ensured = True

    async def disconnect(self, address: str, lock: int) -> None:
        """Remove a machine's link; the kernel would do it too, some time after the machine's last process ended."""
        port = self.network(address).port
        if self._pinned():
            await run(
                "nsenter", f"--net={self._pin}", "sh", "-c", f"ip link delete {port} 2>/dev/null || true", lock=lock
            )

    async def remove(self, lock: int) -> None:
        """Remove it with all links in it; the machines must be gone. Safe to repeat.

        :raises CommandError: a tool failed
        """
        self._ensured = False
        await run("nft", "-f", "-", text=_DELETE_TABLE.format(table=self._table), lock=lock)
        if self._linked():
            await run("ip", "link", "delete", self.link, lock=lock)
        if self._pinned():
            await run("umount", str(self._pin), lock=lock)
        self._pin.unlink(missing_ok=True)

    @property
    def _table(self) -> str:
        return self.link.replace("-", "_")

    def _pinned(self) -> bool:
        """Whether a namespace is mounted on the file; after a reboot only the empty file is left."""
        return self._pin.exists() and self._pin.stat().st_dev != self._pin.parent.stat().st_dev

    def _linked(self) -> bool:
        return Path("/sys/class/net", self.link).exists()

    async def _furnish_router(self, lock: int) -> None:
        script = _ROUTER.format(
            bridge=BRIDGE,
            gateway=f"{GATEWAY}/{RANGE.prefixlen}",
            uplink=UPLINK,
            address=f"{self._router}/{self._uplink.prefixlen}",
            host=self._host,
        )
        inside = ("nsenter", f"--net={self._pin}")
        await run(*inside, "sh", "-ec", script, lock=lock)
        await run(*inside, "nft", "-f", "-", text=_ROUTER_RULES, lock=lock)

    async def _furnish_host(self, lock: int) -> None:
        rules = _HOST_RULES if self._egress else _CLOSED_HOST_RULES
        text = rules.format(table=self._table, link=self.link, uplink=self._uplink)
        await run("nft", "-f", "-", text=text, lock=lock)
        if self._egress:
            await run("sh", "-ec", _FORWARDING, lock=lock)


async def run(*command: str, text: str = "", lock: int) -> None:
    """Run a system tool with ``text`` as its input.

    :param lock: a descriptor that it inherits and so holds until it ends
    :raises CommandError: it failed
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=(lock,),
    )
    try:
        _, said = await process.communicate(text.encode())
    finally:
        if process.stdin is not None:
            process.stdin.close()  # also when cancelled: it would wait for more for ever, and hold the lock
    if process.returncode != 0:
        raise CommandError(command, said.decode(errors="replace"))


_HOST_LINK = """
ip address replace {address} dev {link}
ip link set {link} up
"""

_ROUTER = """
ip link show {bridge} >/dev/null 2>&1 || ip link add {bridge} type bridge forward_delay 0
ip address replace {gateway} dev {bridge}
ip address replace {address} dev {uplink}
for link in lo {bridge} {uplink}; do ip link set $link up; done
ip route replace default via {host}
echo 1 >/proc/sys/net/ipv4/ip_forward
# what passes between two machines is none of the router's business
for file in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $file ] || echo 0 >$file; done
"""

_FORWARDING = """
[ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] || echo 1 >/proc/sys/net/ipv4/ip_forward
"""

_DELETE_TABLE = """
table inet {table}
delete table inet {table}
"""

_ROUTER_RULES = (
    _DELETE_TABLE.format(table="router")
    + """
table inet router {
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname "uplink" ct state != { established, related } drop
    }
    chain input {
        type filter hook input priority filter; policy accept;
        iifname "uplink" ct state != { established, related } drop
    }
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname "uplink" masquerade
    }
}
"""
)

_HOST_RULES = (
    _DELETE_TABLE
    + """
table inet {table} {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        oifname "{link}" ct state != {{ established, related }} drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        ip saddr {uplink} oifname != "{link}" masquerade
    }}
}}
"""
)

_CLOSED_HOST_RULES = (
    _DELETE_TABLE
    + """
table inet {table} {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{link}" drop
        oifname "{link}" drop
    }}
}}
"""
)
