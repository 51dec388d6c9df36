"""Konnectivity: MB/s of one connection through the tunnel, and of kubectl exec and logs, beside the same without it.

Options: ``--rounds N`` (default 5), ``--megabytes N`` (default 200) a round, ``--part raw`` or ``--part kubectl`` for
one of the two only. Rows by round, then medians.

Raw: server, agent and target are processes of their own, the agent's stream is TLS; the first row is the private memory
of server and agent at rest.

- ``echo``: the bytes go there and back at the same time; MB/s counts them once
- ``to_target``, ``from_target``: one direction, for which the target's one-byte answer or the end is the finish

kubectl: a cluster with a node of the local provider (needs root), see `_exec`.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import grpc

from benchmarks import _exec
from joiner.konnectivity.packets import Data, DialRequest, DialResponse, decode, encode, encode_data
from konnectivity import Site, private_mb, processes

NODE = "node-1"
PIECE = 256 << 10
RECORD = 16 << 10
"""What kube-apiserver puts into one DATA packet: a TLS record."""

Measure = Callable[[socket.socket, int], float]
"""Moves so many bytes over a connection and returns MB/s."""


def run(arguments: list[str]) -> Iterator[Mapping[str, Any]]:
    parser = argparse.ArgumentParser(prog="hack/bench tunnel", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--part", choices=("raw", "kubectl"))
    options = parser.parse_args(arguments)
    if options.part != "kubectl":
        yield from raw(options.rounds, options.megabytes * 1_000_000)
    if options.part != "raw":
        yield from _exec.measure(options.rounds, options.megabytes)


def raw(rounds: int, size: int) -> Iterator[Mapping[str, Any]]:
    """One connection, no Kubernetes."""
    with Site.make() as site, _target() as port, processes(site, NODE) as (server, (agent,)):
        yield {
            "server_private_mb": private_mb(server.pid),
            "agent_private_mb": private_mb(agent.pid),
        }
        for direction, measure in _DIRECTIONS.items():
            yield from _compare(
                {"frontend": "http-connect", "direction": direction},
                rounds,
                tunnel=partial(_through_http, site, port, measure, size),
                direct=partial(_without_tunnel, port, measure, size),
            )
        yield from _compare(
            {"frontend": "grpc", "direction": "echo"},
            rounds,
            tunnel=partial(_grpc_echo, site, port, size),
            direct=partial(_without_tunnel, port, _echo, size),
        )


def _compare(
    what: Mapping[str, Any], rounds: int, *, tunnel: Callable[[], float], direct: Callable[[], float]
) -> Iterator[Mapping[str, Any]]:
    """A row for each round, then one of medians."""
    measured = []
    for number in range(1, rounds + 1):
        measured.append((tunnel(), direct()))
        yield _row(what, number, *measured[-1])
    yield _row(what, "median", *(statistics.median(column) for column in zip(*measured, strict=True)))


def _row(what: Mapping[str, Any], number: object, tunnel: float, direct: float) -> Mapping[str, Any]:
    return {
        **what,
        "round": number,
        "tunnel_mb_per_s": tunnel,
        "direct_mb_per_s": direct,
        "ratio": tunnel / direct,
    }


@contextlib.contextmanager
def _target() -> Iterator[int]:
    """A process that echoes, swallows or sends, as the first byte of each connection asks; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener,), daemon=True)
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.kill()
            process.join()


def _serve(listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_answer, args=(client,), daemon=True).start()


def _answer(client: socket.socket) -> None:
    buffer = memoryview(bytearray(PIECE))
    with client:
        match client.recv(1):
            case b"e":
                while size := client.recv_into(buffer):
                    client.sendall(buffer[:size])
            case b"s":
                while client.recv_into(buffer):
                    pass
                client.sendall(b".")
            case b"g":
                with contextlib.suppress(OSError):
                    while True:
                        client.sendall(buffer)


def _direct(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port))


def _http(site: Site, port: int) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(site.http_connect_uds))
    client.sendall(f"CONNECT {NODE}:{port} HTTP/1.1\r\n\r\n".encode())
    answer = client.recv(4096)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(answer.decode())
    return client


def _through_http(site: Site, port: int, measure: Measure, size: int) -> float:
    return measure(_http(site, port), size)


def _without_tunnel(port: int, measure: Measure, size: int) -> float:
    return measure(_direct(port), size)


def _echo(connection: socket.socket, size: int) -> float:
    with connection:
        connection.sendall(b"e")
        start = time.perf_counter()
        sender = threading.Thread(target=_send, args=(connection, size))
        sender.start()
        _receive(connection, size)
        sender.join()
        return size / 1e6 / (time.perf_counter() - start)


def _to_target(connection: socket.socket, size: int) -> float:
    with connection:
        connection.sendall(b"s")
        start = time.perf_counter()
        _send(connection, size)
        connection.shutdown(socket.SHUT_WR)
        _receive(connection, 1)
        return size / 1e6 / (time.perf_counter() - start)


def _from_target(connection: socket.socket, size: int) -> float:
    with connection:
        connection.sendall(b"g")
        start = time.perf_counter()
        _receive(connection, size)
        return size / 1e6 / (time.perf_counter() - start)


_DIRECTIONS: Final[Mapping[str, Measure]] = {"echo": _echo, "to_target": _to_target, "from_target": _from_target}


def _send(connection: socket.socket, size: int) -> None:
    piece = bytes(PIECE)
    while size > 0:
        connection.sendall(piece[:size])
        size -= len(piece)


def _receive(connection: socket.socket, size: int) -> None:
    buffer = bytearray(PIECE)
    while size > 0:
        received = connection.recv_into(buffer)
        if not received:
            raise ConnectionError("the connection ended early")
        size -= received


def _grpc_echo(site: Site, port: int, size: int) -> float:
    with grpc.insecure_channel(f"unix:{site.uds}") as channel:
        dialed: list[int] = []
        opened = threading.Event()

        def packets() -> Iterator[bytes]:
            yield encode(DialRequest(1, f"{NODE}:{port}"))
            opened.wait()
            yield encode_data(dialed[0], b"e")
            record = bytes(RECORD)
            for _ in range(size // RECORD):
                yield encode_data(dialed[0], record)

        answers = channel.stream_stream("/ProxyService/Proxy")(packets())
        response = decode(next(answers))
        assert isinstance(response, DialResponse), response
        dialed.append(response.connection)
        start = time.perf_counter()
        opened.set()
        missing = size // RECORD * RECORD
        while missing > 0:
            packet = decode(next(answers))
            assert isinstance(packet, Data), packet
            missing -= len(packet.payload)
        return size / 1e6 / (time.perf_counter() - start)
