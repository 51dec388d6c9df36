"""One tunnelled connection, seen from either end of an agent's stream.

**Windows.** Upstream's protocol has none, so with it a reader that stalls must stall all connections of its agent (see
`link`). Between two ends of this project each connection may have as many bytes under way as the receiver announced;
the receiver grants as many again once they have left towards the reader. A stalled reader then costs one window of
memory, stops its own sender and nobody else.

**Ending.** The end of one direction is passed on alone (END_OF_DATA) if the peer knows that packet; else, and when the
socket's peer is gone altogether, the connection is closed whole. In every case the data goes first. The agent has the
last word: CLOSE_RSP, when both directions are over, when it was asked to close, or when the target failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from joiner.konnectivity.packets import EndOfData, Window, encode, encode_data
from joiner.konnectivity.transport import CHUNK

if TYPE_CHECKING:
    from joiner.konnectivity.link import Link

PATIENCE: Final = 10.0
"""Seconds that bytes of a peer that is gone may wait for a reader that stalls, before both are given up."""


class Endpoint(Protocol):
    """Where a connection ends in this process. `joiner.konnectivity.sockets.SocketEndpoint` documents the methods."""

    @property
    def backlog(self) -> int: ...
    def attach(self, connection: Connection) -> None: ...
    @property
    def hung_up(self) -> bool: ...
    def read(self, limit: int) -> memoryview | bytes | None: ...
    def write(self, payload: bytes | memoryview) -> None: ...
    def finish(self) -> None: ...
    def close(self, error: str = "") -> None: ...
    def abort(self) -> None: ...


class Connection:
    """What both ends have in common; what differs is abstract: how it is ended, and who has the last word.

    :param number: the connectID, chosen by the agent
    """

    def __init__(self, link: Link, number: int, endpoint: Endpoint) -> None:
        self.number = number
        self.endpoint = endpoint
        self.scheduled = False
        """Whether it stands in the link's queue; the link's own mark."""
        self._link = link
        self._credit = link.peer_window
        self._granted = link.window
        self._unreported = 0
        self._starved_since: float | None = None
        self._read_ended = self._write_ended = self._closed = False

    # What the endpoint calls.

    def readable(self) -> None:
        """There may be something to read."""
        self._link.schedule(self)

    def written(self, size: int) -> None:
        """``size`` bytes have left towards the reader."""
        if not self._link.windowed:
            self._link.relieved(self)
            return
        self._unreported += size
        if self._unreported >= self._link.window // 2:
            self._granted += self._unreported
            self._link.send(encode(Window(self.number, self._unreported)))
            self._unreported = 0

    def finished(self) -> None:
        """Everything up to the end of the data was written, and the end passed on."""
        self._write_ended = True

    def broken(self, error: str) -> None:
        """The endpoint can't go on; close the whole connection now."""
        if not self._closed:
            self._link.send(self._closing_packet(error))
            self._close(error)

    # What the link calls.

    def next_packet(self) -> bytes | None:
        """What is to be sent now, if anything; nothing more until ``readable`` is called."""
        if self._closed or self._read_ended:
            return None
        limit = min(CHUNK, self._credit) if self._link.windowed else CHUNK
        if limit <= 0:
            self._starve()
            return None
        try:
            payload = self.endpoint.read(limit)
        except OSError as error:
            return self._closing(str(error))
        if payload is None:
            return None
        if not payload:
            return self._end_of_data()
        self._credit -= len(payload)
        return encode_data(self.number, payload)

    def on_data(self, payload: bytes | memoryview) -> None:
        """Data came from the peer."""
        if self._closed:
            return
        self._granted -= len(payload)
        if self._link.windowed and self._granted < 0:
            self.broken("more data than the window allows")
            return
        self.endpoint.write(payload)

    def on_window(self, size: int) -> None:
        """The peer takes ``size`` more bytes."""
        self._credit += size
        if self._starved_since is not None:
            self._starved_since = None
            self.readable()

    def on_end_of_data(self) -> None:
        """The peer sends no more, and may still receive."""
        if not self._closed:
            self.endpoint.finish()

    def lost(self, error: str) -> None:
        """The stream is gone, and the connection with it."""
        raise NotImplementedError

    def check(self, now: float) -> None:
        """Called every few seconds: notice what no event tells.

        The kernel does not tell that a peer is gone while its last bytes wait unread, or after it half-closed.
        """
        if self._closed:
            return
        out_of_patience = self._starved_since is not None and now - self._starved_since >= PATIENCE
        if (self._read_ended or out_of_patience) and self.endpoint.hung_up:
            self.broken("the peer is gone")

    # The rest is private to the two kinds of connection.

    def _closing_packet(self, error: str) -> bytes:
        raise NotImplementedError

    def _close(self, error: str) -> None:
        """Let go of the endpoint; the packet that says so is sent."""
        raise NotImplementedError

    def _closing(self, error: str) -> bytes:
        self._close(error)
        return self._closing_packet(error)

    def _end_of_data(self) -> bytes:
        if not self._link.windowed or self.endpoint.hung_up:
            return self._closing("")
        self._read_ended = True
        return encode(EndOfData(self.number))

    def _starve(self) -> None:
        if self._starved_since is None:
            self._starved_since = self._link.time()
