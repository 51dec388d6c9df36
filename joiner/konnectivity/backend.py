"""An agent's stream seen from the server: dials go out, connections of the frontends come to life.

Upstream calls this a backend. Dials get numbers of their own here, so that two clients that drew the same one can't
take each other's answer.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Final, Protocol

from joiner.konnectivity.connection import Connection, Endpoint
from joiner.konnectivity.link import Link
from joiner.konnectivity.packets import (
    CloseDial,
    CloseRequest,
    CloseResponse,
    DialRequest,
    DialResponse,
    Drain,
    Packet,
    encode,
)
from joiner.konnectivity.transport import PacketStream

DIAL_TIMEOUT: Final = 20.0
"""Seconds for an agent to answer a dial. More than the agent itself allows, less than kube-apiserver's 30."""
CLOSE_TIMEOUT: Final = 30.0
"""Seconds for an agent to answer CLOSE_REQ; then the connection is forgotten, and late data answered with CLOSE_REQ."""

_log = logging.getLogger(__name__)


class Frontend(Endpoint, Protocol):
    """An endpoint towards kube-apiserver, which waits for its dial."""

    def established(self, connection: Connection) -> None:
        """The target is connected: tell the client, then attach."""
        ...

    def refused(self, error: str) -> None:
        """There will be no connection."""
        ...


class Dial:
    """A dial that waits for its answer."""

    def __init__(self, backend: Backend, frontend: Frontend, number: int, timer: asyncio.TimerHandle) -> None:
        self.frontend = frontend
        self.timer = timer
        self._backend, self._number = backend, number

    def cancel(self) -> None:
        """Nobody waits for it any more. Harmless when it was answered."""
        self._backend.cancel_dial(self._number)


class BackendConnection(Connection):
    """Ended with CLOSE_REQ; gone when the agent has answered that with CLOSE_RSP."""

    _closed_at: float = 0.0

    def lost(self, error: str) -> None:
        self._closed = True
        self.endpoint.close(error)

    def on_closed(self, error: str) -> None:
        """The agent says that the connection is no more."""
        self._closed = True
        self._link.forget(self)
        self.endpoint.close(error)

    def check(self, now: float) -> None:
        super().check(now)
        if self._closed and now - self._closed_at > CLOSE_TIMEOUT:
            self._link.forget(self)

    def _closing_packet(self, error: str) -> bytes:
        return encode(CloseRequest(self.number))

    def _close(self, error: str) -> None:
        self._closed, self._closed_at = True, self._link.time()
        self.endpoint.close(error)


class Backend(Link):
    """:param agent_id: what the agent calls itself
    :param hosts: node names that it is proven to stand for
    :param addresses: IP addresses that it claims
    """

    def __init__(
        self,
        stream: PacketStream,
        *,
        window: int,
        peer_window: int,
        agent_id: str,
        hosts: Sequence[str] = (),
        addresses: Sequence[str] = (),
    ) -> None:
        super().__init__(stream, window=window, peer_window=peer_window)
        self.agent_id = agent_id
        self.hosts = tuple(hosts)
        self.addresses = tuple(addresses)
        self.draining = False
        self.dials: dict[int, Dial] = {}

    def dial(self, address: str, frontend: Frontend) -> Dial:
        """Ask the agent to connect ``frontend`` with ``address`` (host:port)."""
        number = secrets.randbits(63)
        timer = self._loop.call_later(DIAL_TIMEOUT, self._time_out, number, address)
        dial = self.dials[number] = Dial(self, frontend, number, timer)
        self.send(encode(DialRequest(number, address)))
        return dial

    def cancel_dial(self, number: int) -> None:
        """Forget a dial and tell the agent."""
        if self._take(number):
            self.send(encode(CloseDial(number)))

    def handle(self, packet: Packet) -> None:
        match packet:
            case DialResponse(number, connection, error):
                self._answered(number, connection, error)
            case CloseResponse(number, error):
                connection_ = self.connections.get(number)
                if isinstance(connection_, BackendConnection):
                    connection_.on_closed(error)
            case CloseDial(number):
                if dial := self._take(number):
                    dial.frontend.refused("the agent gave the dial up")
            case Drain():
                self.draining = True
            case _:
                _log.debug("skipped a packet from agent %s: %s", self.agent_id, packet)

    def unknown_connection(self, number: int) -> None:
        self.send(encode(CloseRequest(number)))

    def close(self, reason: str) -> None:
        super().close(reason)
        for number in list(self.dials):
            if dial := self._take(number):
                dial.frontend.refused(f"the agent was lost during the dial: {reason}")

    def _answered(self, number: int, connection_number: int, error: str) -> None:
        dial = self._take(number)
        if dial is None:
            if connection_number:
                self.send(encode(CloseRequest(connection_number)))
        elif error or not connection_number or connection_number in self.connections:
            dial.frontend.refused(error or f"the agent answered with connection {connection_number}")
        else:
            connection = BackendConnection(self, connection_number, dial.frontend)
            self.connections[connection_number] = connection
            dial.frontend.established(connection)

    def _take(self, number: int) -> Dial | None:
        dial = self.dials.pop(number, None)
        if dial:
            dial.timer.cancel()
        return dial

    def _time_out(self, number: int, address: str) -> None:
        if dial := self._take(number):
            self.send(encode(CloseDial(number)))
            dial.frontend.refused(f"the agent did not answer within {DIAL_TIMEOUT:.0f} s to a dial of {address}")
