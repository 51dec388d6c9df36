"""An agent's stream seen from the agent: dials come in, connections to targets go out."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from joiner.konnectivity.connection import Connection
from joiner.konnectivity.link import Link
from joiner.konnectivity.packets import (
    CloseDial,
    CloseRequest,
    CloseResponse,
    DialRequest,
    DialResponse,
    Packet,
    encode,
)
from joiner.konnectivity.sockets import SocketEndpoint
from joiner.konnectivity.transport import PacketStream

MAX_DIALS: Final = 1000
"""Dials under way at once; more are refused. They are short, so more means that something floods the node."""

_log = logging.getLogger(__name__)

Dialer = Callable[[str], Awaitable[socket.socket]]
"""Connects to ``host:port`` or raises OSError."""


class AgentConnection(Connection):
    """Ended with CLOSE_RSP, which is the last word of any connection."""

    def finished(self) -> None:
        super().finished()
        if self._read_ended and not self._closed:
            self._link.send(self._closing(""))

    def lost(self, error: str) -> None:
        self._closed = True
        self.endpoint.abort()

    def on_close(self) -> None:
        """The server wants the connection closed, after what it sent before."""
        if not self._closed:
            self._link.send(self._closing(""))

    def _end_of_data(self) -> bytes:
        return self._closing("") if self._write_ended else super()._end_of_data()

    def _closing_packet(self, error: str) -> bytes:
        return encode(CloseResponse(self.number, error))

    def _close(self, error: str) -> None:
        self._closed = True
        self._link.forget(self)
        if error:
            self.endpoint.abort()
        else:
            self.endpoint.close()


class AgentLink(Link):
    """:param dial: how a target is reached"""

    def __init__(self, stream: PacketStream, dial: Dialer, *, window: int, peer_window: int) -> None:
        super().__init__(stream, window=window, peer_window=peer_window)
        self._dial = dial
        self._dials: dict[int, asyncio.Task[None]] = {}
        self._last_number = 0

    def handle(self, packet: Packet) -> None:
        match packet:
            case DialRequest():
                self._start_dial(packet)
            case CloseDial(random):
                if task := self._dials.get(random):
                    task.cancel()
            case CloseRequest(number):
                self._close_connection(number)
            case _:
                _log.debug("skipped a packet: %s", packet)

    def unknown_connection(self, number: int) -> None:
        self.send(encode(CloseResponse(number, "unknown connection")))

    def close(self, reason: str) -> None:
        for task in list(self._dials.values()):
            task.cancel()
        super().close(reason)

    def _start_dial(self, request: DialRequest) -> None:
        if request.protocol not in ("", "tcp"):
            self.send(encode(DialResponse(request.random, error=f"protocol {request.protocol!r} is not tcp")))
        elif len(self._dials) >= MAX_DIALS or request.random in self._dials:
            self.send(encode(DialResponse(request.random, error="too many dials at once")))
        else:
            task = asyncio.create_task(self._connect(request))
            self._dials[request.random] = task
            task.add_done_callback(lambda _: self._dials.pop(request.random, None))

    async def _connect(self, request: DialRequest) -> None:
        try:
            target = await self._dial(request.address)
        except OSError as error:
            self.send(encode(DialResponse(request.random, error=f"dial {request.address}: {error}")))
            return
        self._last_number += 1
        number = self._last_number
        endpoint = SocketEndpoint(target)
        connection = self.connections[number] = AgentConnection(self, number, endpoint)
        self.send(encode(DialResponse(request.random, number)))
        endpoint.attach(connection)

    def _close_connection(self, number: int) -> None:
        connection = self.connections.get(number)
        if isinstance(connection, AgentConnection):
            connection.on_close()
        else:
            self.send(encode(CloseResponse(number)))
