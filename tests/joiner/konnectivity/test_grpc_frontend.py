"""Conversations on ProxyService, packet by packet, as kube-apiserver's client has them."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from joiner.konnectivity.packets import (
    CloseDial,
    CloseRequest,
    CloseResponse,
    Data,
    DialRequest,
    DialResponse,
    Drain,
    Unknown,
)
from joiner.konnectivity.transport import CHUNK
from konnectivity import GrpcClient, Site, Tunnel, echo, target, until


async def dial(client: GrpcClient, address: str, random: int = 7) -> int:
    """The number of a new connection."""
    await client.send(DialRequest(random, address))
    response = await client.receive()
    assert isinstance(response, DialResponse)
    assert (response.random, response.error) == (random, "")
    assert response.connection > 0
    return response.connection


async def ended(client: GrpcClient) -> None:
    """The server has said all, and ends the stream as soon as the client does."""
    await client.call.done_writing()
    assert await client.receive() is None


async def receive_data(client: GrpcClient, number: int, size: int) -> bytes:
    received = b""
    while len(received) < size:
        packet = await client.receive()
        assert isinstance(packet, Data)
        assert packet.connection == number
        received += bytes(packet.payload)
    return received


async def test_data_goes_there_and_back(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    async with target(echo) as port, GrpcClient(site.uds) as client:
        number = await dial(client, f"node-1:{port}")
        await client.send(Data(number, b"hello"))
        assert await receive_data(client, number, 5) == b"hello"


async def test_a_close_is_answered_and_ends_the_stream(site: Site, tunnel: Tunnel) -> None:
    agent = await tunnel.add_agent()
    async with target(echo) as port, GrpcClient(site.uds) as client:
        number = await dial(client, f"node-1:{port}")
        await client.send(CloseRequest(number))
        assert await client.receive() == CloseResponse(number)
        await ended(client)
        assert await client.call.code() is grpc.StatusCode.OK
    await until(lambda: tunnel.connections == 0)
    assert not any(link.connections for link in agent.links.values())


async def test_data_sent_before_a_close_arrives(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.read(-1))
        writer.close()

    sent = bytes(range(256)) * 8000
    async with target(swallow) as port, GrpcClient(site.uds) as client:
        number = await dial(client, f"node-1:{port}")
        for start in range(0, len(sent), 16384):
            await client.send(Data(number, sent[start : start + 16384]))
        await client.send(CloseRequest(number))
        assert await client.receive() == CloseResponse(number)
        assert await received == sent


async def test_the_targets_last_data_comes_before_the_close(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()

    async def say_and_go(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(1_000_000))
        writer.close()

    async with target(say_and_go) as port, GrpcClient(site.uds) as client:
        number = await dial(client, f"node-1:{port}")
        await receive_data(client, number, 1_000_000)
        assert await client.receive() == CloseResponse(number)
        await ended(client)
    await until(lambda: tunnel.connections == 0)


async def test_the_stream_is_the_clients_to_end(site: Site, tunnel: Tunnel) -> None:
    """A client whose writes fail forgets what it has not read yet, so none may fail before it has read all."""
    await tunnel.add_agent()

    async def say_and_go(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.close()

    async with target(say_and_go) as port, GrpcClient(site.uds) as client:
        number = await dial(client, f"node-1:{port}")
        assert await receive_data(client, number, 3) == b"bye"
        assert await client.receive() == CloseResponse(number)
        for _ in range(100):
            await client.send(Data(number, bytes(100_000)))
        assert not client.call.done()
        await ended(client)


async def test_small_records_are_merged_and_keep_their_order(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    records = [bytes([number % 256]) * (10_000 if number % 3 else 3) for number in range(300)]
    async with target(echo) as port, GrpcClient(site.uds) as client:
        number = await dial(client, f"node-1:{port}")

        async def send() -> None:
            for record in records:
                await client.send(Data(number, record))

        sending = asyncio.create_task(send())
        sent = b"".join(records)
        assert await receive_data(client, number, len(sent)) == sent
        await sending


async def test_a_message_larger_than_a_chunk_is_split(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    sent = bytes(range(256)) * (3 * CHUNK // 256 + 1)
    async with target(echo) as port, GrpcClient(site.uds) as client:
        number = await dial(client, f"node-1:{port}")
        await client.send(Data(number, sent))
        assert await receive_data(client, number, len(sent)) == sent


async def test_a_half_closed_stream_half_closes_the_target(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()

    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read(-1))
        writer.close()

    async with target(answer_at_the_end) as port, GrpcClient(site.uds) as client:
        number = await dial(client, f"node-1:{port}")
        await client.send(Data(number, b"all"))
        await client.call.done_writing()
        assert await receive_data(client, number, 7) == b"got all"
        assert await client.receive() == CloseResponse(number)


async def test_a_refused_target_fails_the_dial(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    async with GrpcClient(site.uds) as client:
        await client.send(DialRequest(9, "node-1:1"))
        response = await client.receive()
        assert isinstance(response, DialResponse)
        assert response.random == 9
        assert response.connection == 0
        assert "node-1:1" in response.error
        await ended(client)


async def test_a_node_without_agent_fails_the_dial_at_once(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    async with GrpcClient(site.uds) as client:
        await client.send(DialRequest(9, "node-2:10250"))
        assert await client.receive() == DialResponse(9, 0, "node 'node-2' has no konnectivity agent connected")


@pytest.mark.parametrize("address", ["node-1", "", ":80", "node-1:eighty"])
async def test_an_address_that_makes_no_sense_fails_the_dial(site: Site, tunnel: Tunnel, address: str) -> None:
    await tunnel.add_agent()
    async with GrpcClient(site.uds) as client:
        await client.send(DialRequest(9, address))
        response = await client.receive()
        assert isinstance(response, DialResponse)
        assert "host:port" in response.error


async def test_packets_without_a_connection_are_answered_with_a_close(site: Site, tunnel: Tunnel) -> None:
    async with GrpcClient(site.uds) as client:
        await client.send(Data(5, b"x"))
        assert await client.receive() == CloseResponse(5, "unknown connection")
        await client.send(CloseRequest(6))
        assert await client.receive() == CloseResponse(6, "unknown connection")


async def test_data_for_another_connection_reaches_nobody(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    async with target(echo) as port, GrpcClient(site.uds) as victim, GrpcClient(site.uds) as other:
        number = await dial(victim, f"node-1:{port}")
        mine = await dial(other, f"node-1:{port}")
        await other.send(Data(number, b"intruder"))
        assert await other.receive() == CloseResponse(number, "unknown connection")
        await other.send(CloseRequest(number))
        assert await other.receive() == CloseResponse(number, "unknown connection")
        await victim.send(Data(number, b"mine"))
        assert await receive_data(victim, number, 4) == b"mine"
        await other.send(Data(mine, b"too"))
        assert await receive_data(other, mine, 3) == b"too"


async def test_a_stream_carries_one_dial(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    async with target(echo) as port, GrpcClient(site.uds) as client:
        number = await dial(client, f"node-1:{port}")
        await client.send(DialRequest(8, f"node-1:{port}"))
        assert await client.receive() == DialResponse(8, 0, "this stream already carries a dial")
        await client.send(Data(number, b"still here"))
        assert await receive_data(client, number, 10) == b"still here"


async def test_unknown_packets_are_skipped(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    async with target(echo) as port, GrpcClient(site.uds) as client:
        await client.send(Unknown(42))
        await client.send(Drain())
        await dial(client, f"node-1:{port}")


async def test_bytes_that_are_no_packet_end_the_stream(site: Site, tunnel: Tunnel) -> None:
    async with GrpcClient(site.uds) as client:
        await client.call.write(b"\xff\xff\xff")
        assert await client.receive() is None


async def test_two_clients_may_draw_the_same_number(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    async with target(echo) as port, GrpcClient(site.uds) as one, GrpcClient(site.uds) as two:
        first, second = await asyncio.gather(dial(one, f"node-1:{port}", 7), dial(two, f"node-1:{port}", 7))
        assert first != second


async def test_a_client_that_vanishes_leaves_nothing(site: Site, tunnel: Tunnel) -> None:
    agent = await tunnel.add_agent()
    gone = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        gone.set()
        writer.close()

    async with target(wait) as port:
        async with GrpcClient(site.uds) as client:
            await dial(client, f"node-1:{port}")
            client.call.cancel()
        await gone.wait()
    await until(lambda: tunnel.connections == 0 and not any(link.connections for link in agent.links.values()))


async def test_a_dial_given_up_leaves_nothing(site: Site, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = await tunnel.add_agent()
    dialing, cancelled = asyncio.Event(), asyncio.Event()

    async def never(_: str) -> None:
        dialing.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr(next(iter(agent.links.values())), "_dial", never)
    async with GrpcClient(site.uds) as client:
        await client.send(DialRequest(7, "node-1:80"))
        await dialing.wait()
        await client.send(CloseDial(7))
        await ended(client)
    await cancelled.wait()
    assert not any(backend.dials for backend in tunnel.server.agents)


async def test_a_dial_given_up_after_its_answer_closes_the_connection(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    async with target(echo) as port, GrpcClient(site.uds) as client:
        await dial(client, f"node-1:{port}", 7)
        await client.send(CloseDial(7))
        await until(lambda: tunnel.connections == 0)


async def test_an_agent_that_does_not_answer_fails_the_dial(
    site: Site, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joiner.konnectivity.backend.DIAL_TIMEOUT", 0.05)
    agent = await tunnel.add_agent()

    async def never(_: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(next(iter(agent.links.values())), "_dial", never)
    async with GrpcClient(site.uds) as client:
        await client.send(DialRequest(7, "node-1:80"))
        response = await client.receive()
        assert isinstance(response, DialResponse)
        assert "did not answer" in response.error
