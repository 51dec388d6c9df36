"""A plain socket as the end of a tunnelled connection.

The link *pulls*: when its turn comes it reads what the kernel holds by then, up to one chunk. So nothing is buffered
here on the way into the tunnel, and the kernel's buffer fills while others have their turn. A peer that sends much in
small pieces is left alone for a millisecond after each, so that they become one packet. What comes out of the tunnel
is written at once; what the kernel does not take waits in a queue, and the connection's window bounds that queue.

Closing loses nothing: the queue is written out, the write side is shut, and what still arrives is read and thrown
away until the peer closes too (closing with unread bytes would reset the connection and could take the last bytes
with it). A target gets `LINGER` seconds for each of the two; kube-apiserver may take its time to read, as it could with
a connection of its own, for when it loses interest it closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from joiner.konnectivity.transport import CHUNK, MERGE_DELAY, MERGED, RECORD

if TYPE_CHECKING:
    from joiner.konnectivity.connection import Connection

LINGER: Final = 5.0
"""Seconds without progress after which a closed connection is given up."""

_RESET: Final = struct.pack("ii", 1, 0)
_VECTORS: Final = 16

# One buffer for all: a read is copied into its packet before the next one can happen.
_BUFFER: Final = memoryview(bytearray(CHUNK))


class SocketEndpoint:
    """:param sock: connected; becomes non-blocking and belongs to the endpoint
    :param received: bytes that were read from it already
    """

    patience: float | None = LINGER
    """Seconds that a peer may leave the last bytes unread; None: as long as it lives."""

    def __init__(self, sock: socket.socket, *, received: bytes = b"") -> None:
        sock.setblocking(False)
        self._socket = sock
        self._received = received
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._queue: deque[memoryview] = deque()
        self._finishing = self._closing = self._broken = False
        self._deadline: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self.backlog = 0
        """Bytes that came through the tunnel and are not written yet."""

    def attach(self, connection: Connection) -> None:
        """Begin to read, for ``connection``."""
        self._connection = connection
        if self._received:
            connection.readable()
        else:
            self._listen()

    @property
    def hung_up(self) -> bool:
        """Whether the peer is gone in both directions; a mere half-close does not count."""
        if self._socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._socket, 0)
        return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))

    def read(self, limit: int) -> memoryview | bytes | None:
        """What has arrived; empty at the end; None when there is nothing now, and ``readable`` will be called.

        The result is valid until the next read of any endpoint.

        :raises OSError: the connection failed
        """
        if self._received:
            return self._first_bytes(limit)
        try:
            size = self._socket.recv_into(_BUFFER[:limit])
        except BlockingIOError:
            self._listen()
            return None
        if size == limit and self._connection:
            self._connection.readable()
        elif RECORD <= size < MERGED:
            self._pause = self._loop.call_later(MERGE_DELAY, self._listen)
        elif size:
            self._listen()
        return _BUFFER[:size]

    def write(self, payload: bytes | memoryview) -> None:
        """Take all of ``payload``; ``written`` is called as its bytes leave."""
        if self._broken:
            self._written(len(payload))
            return
        sent = 0 if self._queue else self._send([payload])
        if sent < len(payload):
            self._queue.append(memoryview(payload)[sent:])
            self.backlog += len(payload) - sent
            if len(self._queue) == 1:
                self._loop.add_writer(self._socket, self._flush)
        self._written(sent)

    def finish(self) -> None:
        """No more writes will come: pass the end on after the queue, then call ``finished``."""
        self._finishing = True
        if not self._queue:
            self._flushed()

    def close(self, error: str = "") -> None:
        """Deliver the queue, then close. No more calls to the connection."""
        if self._closing:
            return
        self._connection, self._closing = None, True
        self._loop.remove_reader(self._socket)
        if self._queue:
            self._extend_deadline(self.patience)
        else:
            self._flushed()

    def abort(self) -> None:
        """Close at once; a TCP peer sees a reset, so that it can't take what it got for the whole."""
        if self._socket.fileno() < 0:
            return
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._release()

    def _extend_deadline(self, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self._loop.call_later(seconds, self.abort)

    def _first_bytes(self, limit: int) -> bytes:
        first, self._received = self._received[:limit], self._received[limit:]
        if self._received and self._connection:
            self._connection.readable()
        else:
            self._listen()
        return first

    def _listen(self) -> None:
        if not self._closing:
            self._loop.add_reader(self._socket, self._on_readable)

    def _on_readable(self) -> None:
        self._loop.remove_reader(self._socket)
        if self._connection:
            self._connection.readable()

    def _send(self, buffers: Sequence[bytes | memoryview]) -> int:
        """How many bytes are off this endpoint's hands."""
        try:
            sent = self._socket.sendmsg(buffers)
        except BlockingIOError:
            return 0
        except OSError:
            # The peer takes no more. What it has sent before is still to be read, and ends with an error of its own.
            self._broken = True
            sent = sum(len(buffer) for buffer in buffers)
        return sent

    def _written(self, size: int) -> None:
        if size and self._connection:
            self._connection.written(size)

    def _flush(self) -> None:
        sent = rest = self._send(list(itertools.islice(self._queue, _VECTORS)))
        self.backlog -= sent
        while self._queue and rest >= len(self._queue[0]):
            rest -= len(self._queue.popleft())
        if rest:
            self._queue[0] = self._queue[0][rest:]
        self._written(sent)
        if self._closing:
            self._extend_deadline(self.patience)
        if not self._queue:
            self._loop.remove_writer(self._socket)
            self._flushed()

    def _flushed(self) -> None:
        if not (self._finishing or self._closing):
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        if self._closing:
            self._extend_deadline(LINGER)
            self._loop.add_reader(self._socket, self._discard)
            self._discard()
        elif self._connection:
            self._connection.finished()

    def _discard(self) -> None:
        try:
            if self._socket.recv_into(_BUFFER):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._release()

    def _release(self) -> None:
        for timer in (self._deadline, self._pause):
            if timer:
                timer.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._connection, self._closing = None, True
        self._queue.clear()
        self._received = b""
        self.backlog = 0
