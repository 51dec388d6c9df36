"""The server and its agents: who is let in, who gets what, and what is left when one of them goes."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from pathlib import Path

import grpc
import pytest

from joiner.konnectivity.agent import Agent
from joiner.konnectivity.packets import CloseResponse, DialRequest, DialResponse
from joiner.konnectivity.server import parse_arguments
from konnectivity import GrpcClient, Pki, RawAgent, Site, Streams, Tunnel, echo, http_connect, target, until


async def ping(streams: Streams) -> None:
    reader, writer = streams
    writer.write(b"ping")
    assert await reader.readexactly(4) == b"ping"


class TestAdmission:
    """Security: nobody gets in without a proof, and nobody as somebody else."""

    async def refusal(self, agent: RawAgent) -> tuple[grpc.StatusCode, str]:
        async with agent:
            return await agent.call.code(), await agent.call.details()

    async def test_a_token_is_reviewed_for_our_audience(self, site: Site, tunnel: Tunnel) -> None:
        await tunnel.add_agent()
        (request,) = site.reviews.requests
        assert request["path"] == "/apis/authentication.k8s.io/v1/tokenreviews"
        assert request["spec"] == {"token": "token-of-node-1", "audiences": ["system:konnectivity-server"]}

    async def test_a_wrong_token_is_refused(self, site: Site, tunnel: Tunnel) -> None:
        code, details = await self.refusal(RawAgent(site, tunnel.server.agent_port, token="wrong"))
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert "does not know the token" in details
        assert len(tunnel.server.agents) == 0

    async def test_a_token_of_another_account_is_refused(self, site: Site, tunnel: Tunnel) -> None:
        site.reviews.accept("default", node="node-1", user="system:serviceaccount:default:default")
        code, _ = await self.refusal(RawAgent(site, tunnel.server.agent_port, token="default"))
        assert code is grpc.StatusCode.UNAUTHENTICATED

    async def test_an_agent_cannot_take_another_nodes_name(self, site: Site, tunnel: Tunnel) -> None:
        site.reviews.accept("of-node-2", node="node-2")
        code, details = await self.refusal(RawAgent(site, tunnel.server.agent_port, "node-1", token="of-node-2"))
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert "can't stand for node 'node-1'" in details
        with pytest.raises(ConnectionError, match="node-1"):
            await http_connect(site.http_connect_uds, "node-1:80")

    async def test_without_an_api_server_nobody_is_believed(self, site: Site, tunnel: Tunnel) -> None:
        site.reviews.close()
        code, _ = await self.refusal(RawAgent(site, tunnel.server.agent_port))
        assert code is grpc.StatusCode.UNAVAILABLE

    async def test_a_node_certificate_lets_its_node_in(self, site: Site, tunnel: Tunnel) -> None:
        certificate, key = site.pki.issue("system:node:node-1", "system:nodes")
        tunnel.start_agent(self.by_certificate(tunnel, site, certificate, key))
        await until(lambda: len(tunnel.server.agents) == 1)
        async with target(echo) as port:
            streams = await http_connect(site.http_connect_uds, f"node-1:{port}")
            await ping(streams)
            streams[1].close()

    @pytest.mark.parametrize(
        ("common_name", "organization"),
        [("system:node:node-2", "system:nodes"), ("system:node:node-1", ""), ("admin", "system:masters")],
    )
    async def test_other_certificates_do_not(
        self, site: Site, tunnel: Tunnel, caplog: pytest.LogCaptureFixture, common_name: str, organization: str
    ) -> None:
        certificate, key = site.pki.issue(common_name, organization)
        tunnel.start_agent(self.by_certificate(tunnel, site, certificate, key))
        await until(lambda: "UNAUTHENTICATED" in caplog.text)
        assert len(tunnel.server.agents) == 0

    async def test_a_certificate_of_another_authority_does_not(
        self, site: Site, tunnel: Tunnel, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        certificate, key = Pki(tmp_path).issue("system:node:node-1", "system:nodes")
        tunnel.start_agent(self.by_certificate(tunnel, site, certificate, key))
        await until(lambda: "no stream to" in caplog.text)
        assert len(tunnel.server.agents) == 0

    async def test_the_certificate_port_takes_no_token(self, site: Site, tunnel: Tunnel) -> None:
        code, _ = await self.refusal(RawAgent(site, tunnel.server.agent_mtls_port))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert site.reviews.requests == []

    async def test_an_agent_refuses_a_server_of_another_authority(
        self, site: Site, tunnel: Tunnel, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        tunnel.start_agent(site.agent_settings(tunnel.server.agent_port, ca=Pki(tmp_path).ca))
        await until(lambda: "no stream to" in caplog.text)
        assert site.reviews.requests == []

    async def test_an_agent_cannot_dial(self, site: Site, tunnel: Tunnel) -> None:
        credentials = grpc.ssl_channel_credentials(site.pki.ca.read_bytes())
        async with grpc.aio.secure_channel(f"127.0.0.1:{tunnel.server.agent_port}", credentials) as channel:
            call = channel.stream_stream("/ProxyService/Proxy")()
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED

    async def test_a_client_of_the_socket_is_no_agent(self, site: Site, tunnel: Tunnel) -> None:
        async with grpc.aio.insecure_channel(f"unix:{site.uds}") as channel:
            call = channel.stream_stream("/AgentService/Connect")()
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED

    def by_certificate(self, tunnel: Tunnel, site: Site, certificate: Path, key: Path) -> object:
        settings = site.agent_settings(tunnel.server.agent_mtls_port)
        return dataclasses.replace(settings, token_file=None, certificate=certificate, key=key)


async def test_each_node_is_reached_through_its_own_agent(
    site: Site, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = ("node-1", "node-2", "node-3")
    dialed: list[tuple[str, str]] = []
    for node in nodes:
        agent = await tunnel.add_agent(node)

        async def refuse(address: str, node: str = node) -> None:
            dialed.append((node, address))
            raise OSError("not today")

        monkeypatch.setattr(next(iter(agent.links.values())), "_dial", refuse)
    for node in nodes:
        with pytest.raises(ConnectionError, match="not today"):
            await http_connect(site.http_connect_uds, f"{node}:10250")
    assert dialed == [(node, f"{node}:10250") for node in nodes]


async def test_a_lost_agent_takes_its_connections_along(site: Site, tunnel: Tunnel) -> None:
    agent = await tunnel.add_agent("node-1")
    await tunnel.add_agent("node-2")
    async with target(echo) as port, GrpcClient(site.uds) as client:
        reader, writer = await http_connect(site.http_connect_uds, f"node-1:{port}")
        other = await http_connect(site.http_connect_uds, f"node-2:{port}")
        await client.send(DialRequest(1, f"node-1:{port}"))
        response = await client.receive()
        assert isinstance(response, DialResponse)
        await tunnel.stop_agent(agent)
        assert await reader.read(-1) == b""
        closed = await client.receive()
        assert isinstance(closed, CloseResponse)
        assert closed.connection == response.connection
        assert closed.error
        await ping(other)
        with pytest.raises(ConnectionError, match="node 'node-1' has no konnectivity agent"):
            await http_connect(site.http_connect_uds, f"node-1:{port}")
        for each in (writer, other[1]):
            each.close()


async def test_a_lost_agent_fails_its_pending_dials(
    site: Site, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await tunnel.add_agent()
    dialing = asyncio.Event()

    async def never(_: str) -> None:
        dialing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(next(iter(agent.links.values())), "_dial", never)
    pending = asyncio.create_task(http_connect(site.http_connect_uds, "node-1:80"))
    await dialing.wait()
    await tunnel.stop_agent(agent)
    with pytest.raises(ConnectionError, match="503 the agent was lost during the dial"):
        await pending


async def test_a_lost_server_resets_the_targets(site: Site) -> None:
    reset = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(-1)
        except ConnectionResetError:
            reset.set()
            raise

    agent: Agent | None = None
    async with target(wait) as port:
        async with Tunnel.open(site) as first:
            settings = site.agent_settings(first.server.agent_port)
            agent = Agent(settings, sleep=lambda seconds: asyncio.sleep(seconds / 20))
            running = asyncio.create_task(agent.run())
            await until(lambda: len(first.server.agents) == 1)
            _, writer = await http_connect(site.http_connect_uds, f"node-1:{port}")
        await reset.wait()
        writer.close()
        running.cancel()


async def test_several_agents_of_one_node_relieve_each_other(site: Site, tunnel: Tunnel) -> None:
    first = await tunnel.add_agent("node-1")
    second = await tunnel.add_agent("node-1")
    async with target(echo) as port:
        old = await http_connect(site.http_connect_uds, f"node-1:{port}")
        await tunnel.stop_agent(second)
        await until(lambda: len(tunnel.server.agents) == 1)
        new = await http_connect(site.http_connect_uds, f"node-1:{port}")
        await ping(new)
        assert first.ready
        for _, writer in (old, new):
            writer.close()


async def test_streams_arrive_whole_whatever_their_size_and_order_of_ending(site: Site, tunnel: Tunnel) -> None:
    """Both directions at once, in pieces of all sizes; either side may end first."""
    await tunnel.add_agent("node-1")
    draw = random.Random(1)  # noqa: S311 -- the same each time

    async def one(number: int) -> None:
        sent, answered = draw.randbytes(draw.randrange(3_000_000)), draw.randbytes(draw.randrange(3_000_000))
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received, _ = await asyncio.gather(reader.read(-1), say(writer, answered, draw))
            heard.set_result(received)
            writer.close()

        async with target(talk) as port:
            reader, writer = await http_connect(site.http_connect_uds, f"node-1:{port}")
            received, _ = await asyncio.gather(reader.read(-1), say(writer, sent, draw))
            assert received == answered
            assert await heard == sent
            writer.close()

    await asyncio.gather(*(one(number) for number in range(12)))
    await until(lambda: tunnel.connections == 0)


async def say(writer: asyncio.StreamWriter, text: bytes, draw: random.Random) -> None:
    """Everything, in pieces, then the end."""
    while text:
        size = draw.choice((1000, 16_384, 300_000))
        writer.write(text[:size])
        text = text[size:]
        await writer.drain()
        if draw.random() < 0.1:
            await asyncio.sleep(draw.random() / 100)
    writer.write_eof()


async def test_many_connections_at_once(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    async with target(echo) as port:
        all_ = await asyncio.gather(*(http_connect(site.http_connect_uds, f"node-1:{port}") for _ in range(200)))
        await asyncio.gather(*(ping(streams) for streams in all_))
        assert tunnel.connections == 200
        for _, writer in all_:
            writer.close()
    await until(lambda: tunnel.connections == 0)


@pytest.mark.parametrize(
    "arguments",
    [
        "--cert=c --key=k",
        "--cert=c --key=k --agent-port=1",
        "--cert=c --key=k --agent-mtls-port=1",
        "--agent-port=1 --kubeconfig=x",
    ],
)
def test_a_command_line_that_lets_nobody_in_is_refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(arguments.split())
    assert "--" in capsys.readouterr().err


def test_a_command_line_becomes_settings() -> None:
    arguments = ["--uds=u", "--agent-port=8132", "--cert=c", "--key=k", "--kubeconfig=x", "--window=65536"]
    settings = parse_arguments(arguments)
    assert (settings.uds, settings.agent_port, settings.window) == (Path("u"), 8132, 65536)
    assert settings.http_connect_uds is None
