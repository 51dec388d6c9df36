"""One agent's stream, seen from either end: many connections that share one gRPC stream.

**Sending.** One task writes, one packet at a time, and waits for HTTP/2 flow control each time. Before each write it
picks what is next: control packets first, then the connections that have something, in turn, one chunk each. So a
bulk transfer delays another connection's keystroke by a chunk, and nothing is read from a socket before it can go.

**Receiving.** Packets are dispatched as they arrive. With windows (see `connection`) that never blocks. A peer without
them (upstream's) can only be slowed down by not reading the stream, which stops all of its connections: that is done
when a connection's backlog exceeds its window, and for `STALL` seconds at most; then the slow connection is closed and
the others go on. Upstream's own ends stall for as long as the reader does.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

import grpc

from joiner.konnectivity.connection import Connection
from joiner.konnectivity.packets import Data, EndOfData, Packet, Window, decode
from joiner.konnectivity.transport import STREAM_ERRORS, PacketStream

STALL: Final = 10.0
"""Seconds that one slow connection may hold up all others of a peer without windows. kube-apiserver's client too gives
a connection up that does not read for 10 s."""
SWEEP: Final = 5.0
"""Seconds between two looks at connections for what no event tells."""

_log = logging.getLogger(__name__)


class Link:
    """What both ends have in common. Subclasses handle the packets that only one end receives.

    :param window: bytes per connection that this end holds before it wants the peer to wait
    :param peer_window: the same of the peer; 0 when it knows no windows
    """

    def __init__(self, stream: PacketStream, *, window: int, peer_window: int) -> None:
        self.window = window
        self.peer_window = peer_window
        self.windowed = peer_window > 0
        self.connections: dict[int, Connection] = {}
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._control: deque[bytes] = deque()
        self._ready: deque[Connection] = deque()
        self._wakeup: asyncio.Future[None] | None = None
        self._stalled: Connection | None = None
        self._relief, self._emptied = asyncio.Event(), asyncio.Event()

    def time(self) -> float:
        """Seconds on the event loop's clock, for deadlines."""
        return self._loop.time()

    def send(self, packet: bytes) -> None:
        """Put a control packet before all data."""
        self._control.append(packet)
        self._wake()

    def schedule(self, connection: Connection) -> None:
        """Let ``connection`` have a turn."""
        if not connection.scheduled:
            connection.scheduled = True
            self._ready.append(connection)
            self._wake()

    def relieved(self, connection: Connection) -> None:
        """Some of the connection's backlog is written."""
        if connection is self._stalled and connection.endpoint.backlog <= self.window // 2:
            self._relief.set()

    def forget(self, connection: Connection) -> None:
        """The connection is over."""
        self.connections.pop(connection.number, None)
        if connection is self._stalled:
            self._relief.set()
        if not self.connections:
            self._emptied.set()

    async def emptied(self) -> None:
        """Return when no connection is open."""
        while self.connections:
            self._emptied.clear()
            await self._emptied.wait()

    async def run(self) -> str:
        """Carry packets until the stream ends; then end all connections.

        :returns: why it ended
        """
        tasks = [asyncio.create_task(step()) for step in (self._receive, self._write, self._sweep)]
        reason = "cancelled"
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            reason = " and ".join(sorted({task.result() for task in done}))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.close(reason)
        return reason

    def close(self, reason: str) -> None:
        """End all connections; the stream is gone."""
        self._control.clear()
        self._ready.clear()
        for connection in list(self.connections.values()):
            connection.lost(reason)
        self.connections.clear()
        self._emptied.set()

    def handle(self, packet: Packet) -> None:
        """A packet that is not about data came."""
        raise NotImplementedError

    def unknown_connection(self, number: int) -> None:
        """Data came for a connection that this end does not have."""
        raise NotImplementedError

    def _wake(self) -> None:
        if self._wakeup and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def _write(self) -> str:
        try:
            while True:
                packet = self._next_packet()
                if packet is None:
                    self._wakeup = self._loop.create_future()
                    await self._wakeup
                else:
                    await self._stream.write(packet)
        except STREAM_ERRORS as error:
            return _reason(error)

    def _next_packet(self) -> bytes | None:
        if self._control:
            return self._control.popleft()
        while self._ready:
            connection = self._ready.popleft()
            connection.scheduled = False
            packet = connection.next_packet()
            if packet is not None:
                return packet
        return None

    async def _receive(self) -> str:
        try:
            while True:
                raw = await self._stream.read()
                if not isinstance(raw, bytes):
                    return "the peer ended the stream"
                packet = decode(raw)
                if isinstance(packet, Data):
                    await self._receive_data(packet)
                else:
                    self._dispatch(packet)
        except STREAM_ERRORS as error:
            return _reason(error)

    async def _receive_data(self, packet: Data) -> None:
        connection = self.connections.get(packet.connection)
        if connection is None:
            self.unknown_connection(packet.connection)
            return
        connection.on_data(packet.payload)
        if not self.windowed and connection.endpoint.backlog > self.window:
            await self._stall(connection)

    async def _stall(self, connection: Connection) -> None:
        self._stalled = connection
        self._relief.clear()
        try:
            async with asyncio.timeout(STALL):
                await self._relief.wait()
        except TimeoutError:
            _log.warning("connection %d is not read from: closed, as it held up all others", connection.number)
            connection.broken(f"not read from for {STALL:.0f} s")
        finally:
            self._stalled = None

    def _dispatch(self, packet: Packet) -> None:
        match packet:
            case Window(number, size):
                if connection := self.connections.get(number):
                    connection.on_window(size)
            case EndOfData(number):
                if connection := self.connections.get(number):
                    connection.on_end_of_data()
            case _:
                self.handle(packet)

    async def _sweep(self) -> str:
        while True:
            await asyncio.sleep(SWEEP)
            now = self.time()
            for connection in list(self.connections.values()):
                connection.check(now)


def _reason(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
