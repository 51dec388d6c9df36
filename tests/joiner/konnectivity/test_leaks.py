"""Ten thousand connections leave nothing behind: no descriptor, no table entry, no memory to speak of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from joiner.konnectivity.packets import (
    CloseDial,
    CloseRequest,
    CloseResponse,
    Data,
    DialRequest,
    DialResponse,
    decode,
    encode,
)
from konnectivity import Site, echo, gauge, http_connect, private_mb, processes, target, until

AT_ONCE = 64
BY_HTTP = 9_000
BY_GRPC = 1_000
GROWTH_MB = 5
"""What a process may grow by after it has warmed up; 10,000 leaked connections of 1 kB are twice as much."""


async def through_http(site: Site, number: int, port: str) -> None:
    """A connection that ends in one of the ways in which connections end."""
    if number % 10 == 9:
        try:
            await http_connect(site.http_connect_uds, "node-1:1")
        except ConnectionError:
            return
    reader, writer = await http_connect(site.http_connect_uds, f"node-1:{port}")
    writer.write(b"hello")
    if number % 3:
        assert await reader.readexactly(5) == b"hello"
    if number % 4 == 0:
        writer.write_eof()
        await reader.read(-1)
    if number % 5 == 0:
        writer.transport.abort()
    writer.close()


async def through_grpc(channel: grpc.aio.Channel, number: int, port: str) -> None:
    call = channel.stream_stream("/ProxyService/Proxy")()
    await call.write(encode(DialRequest(number, f"node-1:{port}")))
    if number % 4 == 0:
        await call.write(encode(CloseDial(number)))
        await end(call)
        return
    response = decode(await call.read())
    assert isinstance(response, DialResponse)
    if number % 4 == 1:
        call.cancel()
        return
    await call.write(encode(Data(response.connection, b"hello")))
    assert decode(await call.read()) == Data(response.connection, b"hello")
    await call.write(encode(CloseRequest(response.connection)))
    assert decode(await call.read()) == CloseResponse(response.connection)
    await end(call)


async def end(call: Any) -> None:
    await call.done_writing()
    while await call.read() is not grpc.aio.EOF:
        pass


async def repeat(count: int, connect: Callable[[int], Awaitable[None]]) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with turns:
            await connect(number)

    await asyncio.gather(*(one(number) for number in range(count)))


async def test_ten_thousand_connections_leave_nothing(site: Site) -> None:
    with processes(site, "node-1") as (server, agents):
        async with target(echo) as port, grpc.aio.insecure_channel(f"unix:{site.uds}") as channel:

            async def connections(by_http: int, by_grpc: int) -> None:
                await repeat(by_http, lambda number: through_http(site, number, port))
                await repeat(by_grpc, lambda number: through_grpc(channel, number, port))
                await until(lambda: nothing_open(site))

            def descriptors(pid: int) -> int:
                return len(list(Path(f"/proc/{pid}/fd").iterdir()))

            pids = [server.pid, agents[0].pid]
            await connections(500, 200)
            await until(lambda: all(descriptors(pid) < 40 for pid in pids))
            memory_before = [private_mb(pid) for pid in pids]
            descriptors_before = [descriptors(pid) for pid in pids]
            await connections(BY_HTTP, BY_GRPC)
            await until(lambda: all(descriptors(pid) <= old for pid, old in zip(pids, descriptors_before, strict=True)))
            growth = [private_mb(pid) - old for pid, old in zip(pids, memory_before, strict=True)]
            assert max(growth) < GROWTH_MB


def nothing_open(site: Site) -> bool:
    return gauge(site, "konnectivity_connections") == 0 and gauge(site, "konnectivity_pending_dials") == 0
