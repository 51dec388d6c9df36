"""ProxyService: what kube-apiserver's egress selector dials with ``proxyProtocol: GRPC``.

One stream is one connection. Upstream's client puts a whole new gRPC connection under each, gives up a connection that
nobody reads for 10 s, and can't half-close: the end of the target's data is therefore the end of the connection for
it. A client that half-closes its gRPC stream without CLOSE_REQ passes the end of its own data on.

The last word is CLOSE_RSP, but the stream is the client's to end: its writes fail from the moment that the stream is
over, and kube-apiserver takes a failed write for the end of a connection of which it has not read everything yet.
For the same reason the client gets small packets; it queues up to ten, and drops them then.

Data is merged, as each message costs the same whatever its size. kube-apiserver sends one message per TLS record; a
full record is held back for a millisecond, so that what follows it can join. That makes a bulk transfer twice as fast
and leaves small messages alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from joiner.konnectivity.agents import NoAgentError
from joiner.konnectivity.backend import Dial, Frontend
from joiner.konnectivity.connection import Connection
from joiner.konnectivity.packets import (
    CloseDial,
    CloseRequest,
    CloseResponse,
    Data,
    DialRequest,
    DialResponse,
    Packet,
    decode,
    encode,
    encode_data,
)
from joiner.konnectivity.transport import CHUNK, MERGE_DELAY, MERGED, RECORD, STREAM_ERRORS, PacketStream

Dialer = Callable[[str, Frontend], Dial]
"""Starts a dial of ``host:port`` for a frontend. Raises NoAgentError."""

CLIENT_CHUNK: Final = 32 << 10
"""Bytes of the largest packet to a client."""

_log = logging.getLogger(__name__)


class GrpcFrontend:
    """The endpoint of one Proxy stream: one task reads the stream, one writes it."""

    def __init__(self, stream: PacketStream, dial: Dialer) -> None:
        self._stream, self._dial = stream, dial
        self._random: int | None = None
        self._number = 0
        self._pending: Dial | None = None
        self._connection: Connection | None = None
        self._incoming, self._outgoing = _Pieces(), _Pieces()
        self._control: deque[bytes] = deque()
        self._last_word: CloseResponse | None = None
        self._merging: asyncio.TimerHandle | None = None
        self._room, self._work = asyncio.Event(), asyncio.Event()
        self._incoming_ended = self._outgoing_ended = self._hung_up = False

    async def serve(self) -> None:
        """Carry one connection; return when it is over."""
        reader = asyncio.create_task(self._read_stream())
        try:
            with contextlib.suppress(*STREAM_ERRORS):
                await self._write_stream()
                self._give_up("the target sends no more")
                await reader
        finally:
            reader.cancel()
            self._give_up("the client is gone")

    # Towards the link: an endpoint.

    @property
    def backlog(self) -> int:
        """Bytes for the client that are not written yet."""
        return self._outgoing.size

    @property
    def hung_up(self) -> bool:
        """Whether the client closed, more than half."""
        return self._hung_up

    def established(self, connection: Connection) -> None:
        """Tell the client, and begin."""
        self._send(DialResponse(self._random or 0, connection.number))
        self.attach(connection)

    def refused(self, error: str) -> None:
        """Tell the client, and end the stream."""
        self._pending = None
        self._send(DialResponse(self._random or 0, error=error))
        self._end()

    def attach(self, connection: Connection) -> None:
        """Begin."""
        self._pending, self._connection, self._number = None, connection, connection.number
        connection.readable()

    def read(self, limit: int) -> memoryview | bytes | None:
        """What the client sent; empty at the end; None when there is nothing now."""
        if not self._incoming.size:
            return b"" if self._incoming_ended else None
        payload = self._incoming.take(limit)
        self._room.set()
        if self._connection and (self._incoming.size or self._incoming_ended):
            self._connection.readable()
        return payload

    def write(self, payload: bytes | memoryview) -> None:
        """Queue for the client."""
        self._outgoing.put(payload)
        self._work.set()

    def finish(self) -> None:
        """The target sends no more: for upstream's client that is the end of all."""
        self._end("")

    def close(self, error: str = "") -> None:
        """The connection is no more."""
        self._end(error)
        self._connection = None
        self._incoming.clear()
        self._room.set()
        if self._hung_up:
            self._outgoing.clear()

    def abort(self) -> None:
        """As close, and without what is queued."""
        self._outgoing.clear()
        self.close("aborted")

    # Towards the client: a stream.

    async def _write_stream(self) -> None:
        while self._control or self._outgoing.size or not self._outgoing_ended:
            if self._control:
                await self._stream.write(self._control.popleft())
            elif self._outgoing.size:
                await self._write_data()
            else:
                self._work.clear()
                await self._work.wait()
        if self._last_word:
            await self._stream.write(encode(self._last_word))

    async def _write_data(self) -> None:
        payload = self._outgoing.take(CLIENT_CHUNK)
        await self._stream.write(encode_data(self._number, payload))
        if self._connection:
            self._connection.written(len(payload))

    async def _read_stream(self) -> None:
        try:
            while True:
                raw = await self._stream.read()
                if not isinstance(raw, bytes):
                    break
                await self._receive(decode(raw))
        except STREAM_ERRORS as error:
            _log.debug("a Proxy stream failed: %s", error)
            self._hung_up = True
        self._end_of_incoming()

    async def _receive(self, packet: Packet) -> None:
        match packet:
            case Data(number, payload) if self._carries(number):
                await self._take_in(payload)
            case CloseRequest(number) if self._carries(number):
                self._hung_up = True
                self._end_of_incoming()
            case DialRequest():
                self._start_dial(packet)
            case CloseDial(random) if random == self._random:
                self._hung_up = True
                self._give_up("the client gave the dial up")
            case Data(number) | CloseRequest(number):
                self._send(CloseResponse(number, "unknown connection"))
            case _:
                _log.debug("skipped a packet from a client: %s", packet)

    def _carries(self, number: int) -> bool:
        return self._connection is not None and self._connection.number == number

    async def _take_in(self, payload: bytes | memoryview) -> None:
        self._incoming.put(payload)
        if len(payload) < RECORD or self._incoming.size >= MERGED:
            self._readable()
        elif self._merging is None:
            self._merging = asyncio.get_running_loop().call_later(MERGE_DELAY, self._readable)
        while self._connection and self._incoming.size >= CHUNK:
            self._room.clear()
            await self._room.wait()

    def _readable(self) -> None:
        if self._merging:
            self._merging.cancel()
            self._merging = None
        if self._connection:
            self._connection.readable()

    def _end_of_incoming(self) -> None:
        self._incoming_ended = True
        self._readable()
        if not (self._connection or self._pending):
            self._end()

    def _start_dial(self, request: DialRequest) -> None:
        if self._random is not None:
            self._send(DialResponse(request.random, error="this stream already carries a dial"))
            return
        self._random = request.random
        try:
            self._pending = self._dial(request.address, self)
        except NoAgentError as error:
            self.refused(str(error))

    def _give_up(self, reason: str) -> None:
        if self._pending:
            self._pending.cancel()
            self._pending = None
        if self._connection:
            self._connection.broken(reason)
        self._end()

    def _send(self, packet: Packet) -> None:
        if not self._outgoing_ended:
            self._control.append(encode(packet))
            self._work.set()

    def _end(self, error: str | None = None) -> None:
        """Write no more than what is queued, then CLOSE_RSP with ``error``, if there is a connection to speak of."""
        self._outgoing_ended = True
        if self._connection and error is not None and self._last_word is None:
            self._last_word = CloseResponse(self._number, error)
        self._work.set()


class _Pieces:
    """Payloads in order, taken out merged or split to a wanted size."""

    def __init__(self) -> None:
        self._pieces: deque[bytes | memoryview] = deque()
        self.size = 0

    def put(self, piece: bytes | memoryview) -> None:
        self._pieces.append(piece)
        self.size += len(piece)

    def take(self, limit: int) -> bytes | memoryview:
        taken: list[bytes | memoryview] = []
        room = limit
        while self._pieces and room:
            piece = self._pieces.popleft()
            if len(piece) > room:
                self._pieces.appendleft(memoryview(piece)[room:])
                piece = memoryview(piece)[:room]
            taken.append(piece)
            room -= len(piece)
        self.size -= limit - room
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def clear(self) -> None:
        self._pieces.clear()
        self.size = 0
