"""A machine's link into the LAN of its cluster, and its place behind the router there.

The link is a veth pair with one end in the machine's network namespace and one on the LAN's bridge. It goes when either
namespace goes, so that a dead machine leaves none. As the kernel takes its time for that, an end that an
earlier holder of the same address left on the bridge is removed first.
"""

from __future__ import annotations

import os
import subprocess
from typing import Final

from providers.local.machine.order import Network

BRIDGE: Final = "br0"
INTERFACE: Final = "eth0"
_SYSCTLS: Final = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "bridge/bridge-nf-call-iptables": "1",  # services must be translated for pods on one bridge too
    "bridge/bridge-nf-call-ip6tables": "1",
}


def connect(network: Network) -> None:
    """Give the network namespace of this process its link, address and routes.

    :raises subprocess.CalledProcessError: with what ``ip`` said in ``stderr``
    """
    in_lan = ["nsenter", f"--net={network.lan}"]
    subprocess.run([*in_lan, "ip", "link", "delete", network.port], check=False, stderr=subprocess.DEVNULL)
    _ip(
        [],
        f"link add {INTERFACE} address {network.mac} type veth peer name {network.port} netns {network.lan}",
        "link set lo up",
        f"address add {network.address} dev {INTERFACE}",
        f"link set {INTERFACE} up",
    )
    _ip(in_lan, f"link set {network.port} master {BRIDGE}", f"link set {network.port} up")
    _ip([], f"route add default via {network.gateway}")
    for name, value in _SYSCTLS.items():
        if os.path.exists(f"/proc/sys/net/{name}"):
            with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
                file.write(value)


def _ip(where: list[str], *commands: str) -> None:
    subprocess.run([*where, "ip", "-batch", "-"], input="\n".join(commands), check=True, capture_output=True, text=True)
