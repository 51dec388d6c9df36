"""Many connections on one stream: none may stall the others, grow without bound or lose its last bytes."""

from __future__ import annotations

import asyncio

import pytest

from joiner.konnectivity.packets import (
    CloseRequest,
    CloseResponse,
    Data,
    DialRequest,
    DialResponse,
    Drain,
    EndOfData,
    Packet,
    Unknown,
    Window,
    decode,
    encode,
)
from konnectivity import GrpcClient, RawAgent, RawServer, Site, Streams, Tunnel, echo, http_connect, target, until

KERNEL_BUFFERS = 24 << 20
"""Bytes that the kernel may hold between a target and a client that does not read: two sockets on each side."""


class Flood:
    """A target that sends for ever, and counts what it got rid of."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        piece = bytes(1 << 16)
        try:
            while True:
                writer.write(piece)
                await writer.drain()
                self.sent += len(piece)
        except ConnectionError:
            writer.close()


async def settled(count: Flood) -> int:
    """What was sent when no more is taken."""
    before = -1
    while before != count.sent:
        before = count.sent
        await asyncio.sleep(0.3)
    return before


async def swallow(reader: asyncio.StreamReader, size: int) -> None:
    while size > 0:
        size -= len(await reader.read(1 << 16))


async def ping(streams: Streams) -> None:
    reader, writer = streams
    writer.write(b"ping")
    assert await reader.readexactly(4) == b"ping"


async def test_a_client_that_does_not_read_stops_its_target_and_nobody_else(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    flood = Flood()
    async with target(flood) as flood_port, target(echo) as port:
        reader, writer = await http_connect(site.http_connect_uds, f"node-1:{flood_port}")
        other = await http_connect(site.http_connect_uds, f"node-1:{port}")
        stopped_at = await settled(flood)
        assert stopped_at < KERNEL_BUFFERS
        (backend,) = tunnel.server.agents
        assert all(connection.endpoint.backlog <= backend.window for connection in backend.connections.values())
        await ping(other)
        await swallow(reader, 2 * KERNEL_BUFFERS)
        assert flood.sent > stopped_at
        writer.close()
        other[1].close()
    await until(lambda: tunnel.connections == 0)


async def test_a_target_that_does_not_read_stops_its_client_and_nobody_else(site: Site, tunnel: Tunnel) -> None:
    agent = await tunnel.add_agent()
    read_on, done = asyncio.Event(), asyncio.Event()
    size = 2 * KERNEL_BUFFERS

    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_on.wait()
        await swallow(reader, size)
        done.set()
        writer.close()

    async with target(dawdle) as slow_port, target(echo) as port:
        _, writer = await http_connect(site.http_connect_uds, f"node-1:{slow_port}")
        other = await http_connect(site.http_connect_uds, f"node-1:{port}")
        writer.write(bytes(size))
        (link,) = agent.links.values()
        await until(lambda: any(connection.endpoint.backlog for connection in link.connections.values()))
        await ping(other)
        assert all(connection.endpoint.backlog <= link.window for connection in link.connections.values())
        assert writer.transport.get_write_buffer_size() > size - KERNEL_BUFFERS
        read_on.set()
        await done.wait()
        writer.close()
        other[1].close()


async def test_a_grpc_client_that_does_not_read_stops_its_target(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    flood = Flood()
    async with target(flood) as port, GrpcClient(site.uds) as client:
        await client.send(DialRequest(1, f"node-1:{port}"))
        assert isinstance(await client.receive(), DialResponse)
        assert await settled(flood) < KERNEL_BUFFERS


async def test_a_bulk_transfer_leaves_turns_to_others(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    flood = Flood()
    async with target(flood) as flood_port, target(echo) as port:
        reader, writer = await http_connect(site.http_connect_uds, f"node-1:{flood_port}")
        bulk = asyncio.create_task(swallow(reader, 1 << 60))
        other = await http_connect(site.http_connect_uds, f"node-1:{port}")
        for _ in range(20):
            before = flood.sent
            await ping(other)
            await until(lambda before=before: flood.sent > before)  # type: ignore[misc]
        bulk.cancel()
        writer.close()
        other[1].close()


async def test_a_client_gone_while_its_target_stalls_is_noticed(
    site: Site, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joiner.konnectivity.link.SWEEP", 0.05)
    monkeypatch.setattr("joiner.konnectivity.connection.PATIENCE", 0.1)
    await tunnel.add_agent()
    never = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    async with target(stall) as port:
        _, writer = await http_connect(site.http_connect_uds, f"node-1:{port}")
        writer.write(bytes(KERNEL_BUFFERS))
        await until(lambda: any(backend.connections for backend in tunnel.server.agents))
        await asyncio.sleep(0.3)
        writer.transport.abort()
        await until(lambda: tunnel.connections == 0)
        never.set()


class TestServerWithUpstreamsAgent:
    """An agent without windows: bounded queues, and a stall that ends."""

    async def open(self, agent: RawAgent, site: Site, number: int) -> Streams:
        dialed = asyncio.create_task(http_connect(site.http_connect_uds, "node-1:80"))
        request = await agent.receive()
        assert isinstance(request, DialRequest)
        assert (request.address, request.protocol) == ("node-1:80", "tcp")
        await agent.send(DialResponse(request.random, number))
        return await dialed

    async def test_it_gets_nothing_that_upstream_does_not_know(self, site: Site, tunnel: Tunnel) -> None:
        async with RawAgent(site, tunnel.server.agent_port) as agent:
            await tunnel.add_raw_agent(agent)
            assert agent.headers["serverid"]
            assert agent.headers["servercount"] == "1"
            reader, writer = await self.open(agent, site, 5)
            await agent.send(Data(5, bytes(2 << 20)))
            await reader.readexactly(2 << 20)
            writer.write(b"to you")
            assert await agent.receive() == Data(5, b"to you")
            writer.write_eof()
            assert await agent.receive() == CloseRequest(5)
            await agent.send(CloseResponse(5))
            writer.close()
            await until(lambda: tunnel.connections == 0)

    async def test_its_last_data_comes_before_its_close(self, site: Site, tunnel: Tunnel) -> None:
        async with RawAgent(site, tunnel.server.agent_port) as agent:
            await tunnel.add_raw_agent(agent)
            reader, writer = await self.open(agent, site, 5)
            await agent.send(Data(5, b"all"))
            await agent.send(CloseResponse(5))
            assert await reader.read(-1) == b"all"
            writer.close()

    async def test_one_slow_client_is_given_up_for_the_others(
        self, site: Site, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("joiner.konnectivity.link.STALL", 0.2)
        async with RawAgent(site, tunnel.server.agent_port) as agent:
            await tunnel.add_raw_agent(agent)
            _, slow = await self.open(agent, site, 5)
            reader, quick = await self.open(agent, site, 6)
            for _ in range(8):
                await agent.send(Data(5, bytes(1 << 20)))
            await agent.send(Data(6, b"at last"))
            assert await reader.readexactly(7) == b"at last"
            assert await agent.receive() == CloseRequest(5)
            slow.close()
            quick.close()

    async def test_a_client_that_reads_slowly_gets_everything(self, site: Site, tunnel: Tunnel) -> None:
        async with RawAgent(site, tunnel.server.agent_port) as agent:
            await tunnel.add_raw_agent(agent)
            reader, writer = await self.open(agent, site, 5)

            async def send() -> None:
                for _ in range(16):
                    await agent.send(Data(5, bytes(1 << 20)))

            sending = asyncio.create_task(send())
            for _ in range(16):
                await asyncio.sleep(0.02)
                await reader.readexactly(1 << 20)
            await sending
            writer.close()

    async def test_data_for_a_connection_that_is_not_there_is_answered_with_a_close(
        self, site: Site, tunnel: Tunnel
    ) -> None:
        async with RawAgent(site, tunnel.server.agent_port) as agent:
            await agent.send(Data(99, b"x"))
            assert await agent.receive() == CloseRequest(99)

    async def test_an_answer_to_no_dial_is_closed(self, site: Site, tunnel: Tunnel) -> None:
        async with RawAgent(site, tunnel.server.agent_port) as agent:
            await agent.send(DialResponse(1234, 99))
            assert await agent.receive() == CloseRequest(99)

    async def test_a_draining_agent_gets_no_dials_if_another_can(self, site: Site, tunnel: Tunnel) -> None:
        async with RawAgent(site, tunnel.server.agent_port, "node-2") as agent, target(echo) as port:
            await tunnel.add_raw_agent(agent)
            await tunnel.add_agent("node-1")
            await agent.send(Drain())
            await until(lambda: any(backend.draining for backend in tunnel.server.agents))
            for _ in range(10):
                _, writer = await http_connect(site.http_connect_uds, f"127.0.0.1:{port}")
                writer.close()

    async def test_packets_of_the_future_are_skipped(self, site: Site, tunnel: Tunnel) -> None:
        async with RawAgent(site, tunnel.server.agent_port) as agent:
            await tunnel.add_raw_agent(agent)
            await agent.send(Unknown(50))
            _, writer = await self.open(agent, site, 5)
            writer.close()

    async def test_more_data_than_the_window_closes_the_connection(self, site: Site, tunnel: Tunnel) -> None:
        async with RawAgent(site, tunnel.server.agent_port, window=1 << 20) as agent:
            await tunnel.add_raw_agent(agent)
            _, writer = await self.open(agent, site, 5)
            for _ in range(12):
                await agent.send(Data(5, bytes(256 << 10)))
            packets: list[Packet | None] = []
            while CloseRequest(5) not in packets:
                packets.append(await agent.receive())
            assert all(isinstance(packet, Window | CloseRequest) for packet in packets)
            writer.close()

    async def test_an_agent_that_does_not_answer_a_close_is_not_waited_for_ever(
        self, site: Site, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("joiner.konnectivity.link.SWEEP", 0.05)
        monkeypatch.setattr("joiner.konnectivity.backend.CLOSE_TIMEOUT", 0.1)
        async with RawAgent(site, tunnel.server.agent_port) as agent:
            await tunnel.add_raw_agent(agent)
            _, writer = await self.open(agent, site, 5)
            writer.close()
            assert await agent.receive() == CloseRequest(5)
            await until(lambda: tunnel.connections == 0)


class TestAgentWithUpstreamsServer:
    """A server without windows."""

    async def dial(self, context: object, port: str, random: int = 1) -> int:
        await send(context, DialRequest(random, f"node-1:{port}"))
        response = await receive(context)
        assert isinstance(response, DialResponse)
        assert (response.random, response.error) == (random, "")
        return response.connection

    async def test_the_conversation_is_upstreams(self, site: Site, tunnel: Tunnel) -> None:
        async with RawServer(site) as server, target(echo) as port:
            tunnel.start_agent(site.agent_settings(server.port, node_ip="10.0.0.1", agent_id="a1"))
            stream = await server.agent()
            assert server.metadata["agentid"] == "a1"
            assert server.metadata["agentidentifiers"] == "host=node-1&ipv4=10.0.0.1"
            assert server.metadata["authorization"] == "Bearer token-of-node-1"
            number = await self.dial(stream, port)
            await send(stream, Data(number, b"hello"))
            assert await receive(stream) == Data(number, b"hello")
            await send(stream, CloseRequest(number))
            assert await receive(stream) == CloseResponse(number)
            await send(stream, CloseRequest(number))
            assert await receive(stream) == CloseResponse(number)

    async def test_the_targets_end_closes_the_connection_after_its_data(self, site: Site, tunnel: Tunnel) -> None:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"bye")
            writer.close()

        async with RawServer(site) as server, target(greet) as port:
            tunnel.start_agent(site.agent_settings(server.port))
            stream = await server.agent()
            number = await self.dial(stream, port)
            assert await receive(stream) == Data(number, b"bye")
            assert await receive(stream) == CloseResponse(number)

    async def test_a_failed_dial_is_answered_with_its_error(self, site: Site, tunnel: Tunnel) -> None:
        async with RawServer(site) as server:
            tunnel.start_agent(site.agent_settings(server.port))
            stream = await server.agent()
            for request in (DialRequest(1, "node-1:1"), DialRequest(2, "nonsense"), DialRequest(3, "node-1:1", "udp")):
                await send(stream, request)
                response = await receive(stream)
                assert isinstance(response, DialResponse)
                assert (response.random, response.connection) == (request.random, 0)
                assert response.error

    async def test_data_for_a_connection_that_is_not_there_is_answered(self, site: Site, tunnel: Tunnel) -> None:
        async with RawServer(site) as server:
            tunnel.start_agent(site.agent_settings(server.port))
            stream = await server.agent()
            await send(stream, Data(7, b"x"))
            assert await receive(stream) == CloseResponse(7, "unknown connection")

    async def test_one_slow_target_is_given_up_for_the_others(
        self, site: Site, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("joiner.konnectivity.link.STALL", 0.2)
        over = asyncio.Event()

        async def stall(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await over.wait()
            writer.close()

        async with RawServer(site) as server, target(stall) as slow_port, target(echo) as port:
            tunnel.start_agent(site.agent_settings(server.port))
            stream = await server.agent()
            slow, quick = await self.dial(stream, slow_port), await self.dial(stream, port, 2)
            for _ in range(24):
                await send(stream, Data(slow, bytes(1 << 20)))
            await send(stream, Data(quick, b"at last"))
            packets = [await receive(stream)]
            while packets[-1] != Data(quick, b"at last"):
                packets.append(await receive(stream))
            assert all(packet.connection == slow for packet in packets[:-1] if isinstance(packet, CloseResponse))
            assert packets[0] == CloseResponse(slow, "not read from for 0 s")
            over.set()

    async def test_both_ends_of_data_close_the_connection(self, site: Site, tunnel: Tunnel) -> None:
        async with RawServer(site, window=1 << 20) as server, target(echo) as port:
            tunnel.start_agent(site.agent_settings(server.port))
            stream = await server.agent()
            number = await self.dial(stream, port)
            await send(stream, EndOfData(number))
            assert await receive(stream) == CloseResponse(number)


async def send(context: object, packet: Packet) -> None:
    await context.write(encode(packet))  # type: ignore[attr-defined]


async def receive(context: object) -> Packet:
    return decode(await context.read())  # type: ignore[attr-defined]
