"""A socket at the end of a connection: nothing is lost when it closes, and nothing stays behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from joiner.konnectivity.sockets import SocketEndpoint
from konnectivity import until


class Carrier:
    """What an endpoint tells its connection."""

    def __init__(self) -> None:
        self.is_readable, self.is_finished = asyncio.Event(), asyncio.Event()
        self.bytes_written = 0

    def readable(self) -> None:
        self.is_readable.set()

    def written(self, size: int) -> None:
        self.bytes_written += size

    def finished(self) -> None:
        self.is_finished.set()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


@pytest.fixture(params=["unix", "tcp"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """An endpoint's socket and its peer's."""
    made = socket.socketpair() if request.param == "unix" else tcp_pair()
    made[1].setblocking(False)
    yield made
    for each in made:
        each.close()


Pair = tuple[socket.socket, socket.socket]


def attached(pair: Pair) -> tuple[SocketEndpoint, Carrier]:
    endpoint, carrier = SocketEndpoint(pair[0]), Carrier()
    endpoint.attach(carrier)  # type: ignore[arg-type]
    return endpoint, carrier


async def read_all(peer: socket.socket) -> int:
    size = 0
    while data := await asyncio.get_running_loop().sock_recv(peer, 1 << 16):
        size += len(data)
    return size


async def test_a_close_delivers_what_is_queued(pair: Pair) -> None:
    endpoint, _ = attached(pair)
    endpoint.write(bytes(20 << 20))
    assert endpoint.backlog
    endpoint.close()
    assert await read_all(pair[1]) == 20 << 20


async def test_unread_bytes_do_not_turn_a_close_into_a_reset(pair: Pair) -> None:
    endpoint, _ = attached(pair)
    pair[1].send(b"never read")
    endpoint.write(bytes(1000))
    endpoint.close()
    assert await read_all(pair[1]) == 1000


async def test_a_close_lets_go_of_the_socket_when_the_peer_does(pair: Pair) -> None:
    endpoint, _ = attached(pair)
    endpoint.close()
    assert pair[0].fileno() >= 0
    pair[1].close()
    await until(lambda: pair[0].fileno() < 0)
    assert endpoint.hung_up


async def test_a_close_waits_for_a_peer_for_a_while_only(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SocketEndpoint, "patience", 0.05)
    endpoint, _ = attached(pair)
    endpoint.write(bytes(20 << 20))
    endpoint.close()
    await until(lambda: pair[0].fileno() < 0)
    assert endpoint.backlog == 0


async def test_a_peer_that_reads_slowly_gets_everything(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SocketEndpoint, "patience", 0.5)
    endpoint, _ = attached(pair)
    endpoint.write(bytes(4 << 20))
    endpoint.close()
    received = 0
    while received < 4 << 20:
        received += len(await asyncio.get_running_loop().sock_recv(pair[1], 2 << 20))
        await asyncio.sleep(0.01)
    assert await read_all(pair[1]) == 0


async def test_a_patient_endpoint_waits_as_long_as_its_peer_lives(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SocketEndpoint, "patience", None)
    monkeypatch.setattr("joiner.konnectivity.sockets.LINGER", 0.01)
    endpoint, _ = attached(pair)
    endpoint.write(bytes(20 << 20))
    endpoint.close()
    await asyncio.sleep(0.1)
    assert pair[0].fileno() >= 0
    pair[1].close()
    await until(lambda: pair[0].fileno() < 0)


async def test_an_abort_closes_at_once() -> None:
    pair = tcp_pair()
    endpoint, _ = attached(pair)
    pair[1].setblocking(False)
    endpoint.write(bytes(1000))
    endpoint.abort()
    assert pair[0].fileno() < 0
    with pytest.raises(ConnectionResetError):
        await read_all(pair[1])
    pair[1].close()
    endpoint.abort()


async def test_finishing_passes_the_end_on_after_the_queue_and_reading_goes_on(pair: Pair) -> None:
    endpoint, carrier = attached(pair)
    endpoint.write(bytes(10 << 20))
    endpoint.finish()
    assert not carrier.is_finished.is_set()
    assert await read_all(pair[1]) == 10 << 20
    await carrier.is_finished.wait()
    assert carrier.bytes_written == 10 << 20
    pair[1].send(b"still here")
    await carrier.is_readable.wait()
    assert bytes(endpoint.read(100) or b"") == b"still here"
    endpoint.abort()


async def test_a_peer_that_is_gone_is_told_from_one_that_half_closed(pair: Pair) -> None:
    endpoint, carrier = attached(pair)
    assert not endpoint.hung_up
    pair[1].shutdown(socket.SHUT_WR)
    await carrier.is_readable.wait()
    assert endpoint.read(100) == b""
    assert not endpoint.hung_up
    endpoint.finish()
    pair[1].close()
    assert endpoint.hung_up
    endpoint.abort()


async def test_what_was_received_before_comes_first_and_in_pieces(pair: Pair) -> None:
    endpoint, carrier = SocketEndpoint(pair[0], received=b"abcdef"), Carrier()
    endpoint.attach(carrier)  # type: ignore[arg-type]
    pair[1].send(b"ghi")
    assert carrier.is_readable.is_set()
    assert bytes(endpoint.read(4) or b"") == b"abcd"
    assert bytes(endpoint.read(4) or b"") == b"ef"
    assert bytes(endpoint.read(4) or b"") == b"ghi"
    assert endpoint.read(4) is None
    endpoint.abort()


async def test_a_peer_that_takes_no_more_still_gets_read_to_its_end() -> None:
    pair = tcp_pair()
    endpoint, carrier = attached(pair)
    pair[1].send(b"last words")
    await carrier.is_readable.wait()
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair[1].close()
    for _ in range(3):
        endpoint.write(bytes(1 << 20))
    assert carrier.bytes_written == 3 << 20
    assert bytes(endpoint.read(100) or b"") == b"last words"
    endpoint.abort()
