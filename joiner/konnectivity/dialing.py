"""How an agent reaches a target: kube-apiserver names the kubelet by its node, and everything else by address.

The node's own name is not resolved: it need not be in any DNS, and behind NAT its address means nothing elsewhere. It
is 127.0.0.1, or the node's IP when nothing listens there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

DIAL_TIMEOUT: Final = 10.0
"""Seconds for all attempts of one dial together."""


def split_address(address: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port``.

    :raises ValueError: it is neither
    """
    host, _, port = address.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ValueError(f"{address!r} is not host:port")
    return host, int(port)


def is_ip(host: str) -> bool:
    """Whether ``host`` is a literal address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class NodeDialer:
    """Connects to targets as seen from the node.

    :param node_name: the host name that means this node
    :param node_ip: where the kubelet listens if not on 127.0.0.1; empty if unknown
    """

    def __init__(self, node_name: str, node_ip: str = "") -> None:
        self._node_name, self._node_ip = node_name, node_ip

    async def __call__(self, address: str) -> socket.socket:
        """A connected, non-blocking socket.

        :raises OSError: no attempt succeeded; the last one's error
        """
        try:
            host, port = split_address(address)
            async with asyncio.timeout(DIAL_TIMEOUT):
                return await _connect_first(await self._candidates(host, port))
        except TimeoutError:
            raise TimeoutError(f"no answer within {DIAL_TIMEOUT:.0f} s") from None
        except ValueError as error:  # UnicodeError, of a name that can't be one, included
            raise OSError(str(error)) from error

    async def _candidates(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        if host == self._node_name:
            return [(ip, port) for ip in ("127.0.0.1", self._node_ip) if ip]
        if is_ip(host):
            return [(host, port)]
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(str(info[4][0]), port) for info in found]


async def _connect_first(candidates: Sequence[tuple[str, int]]) -> socket.socket:
    failure = OSError("no address")
    for address in candidates:
        try:
            return await _connect(address)
        except OSError as error:
            failure = error
    raise failure


async def _connect(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    target = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        target.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await asyncio.get_running_loop().sock_connect(target, address)
    except BaseException:
        target.close()
        raise
    return target
