"""The agent never gives up, and leaves when it is told to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from joiner.konnectivity.agent import LONGEST_PAUSE, Agent, next_pause, parse_arguments
from joiner.konnectivity.health import serve_health
from konnectivity import (
    Site,
    Tunnel,
    cancelled,
    echo,
    free_port,
    http_connect,
    private_mb,
    processes,
    start_agent,
    start_server,
    target,
    until,
    wait_for_agents,
)

MEMORY_BUDGET_MB = 45


async def test_it_dials_a_server_that_was_replaced(site: Site) -> None:
    port = free_port()
    agent = Agent(site.agent_settings(port), sleep=lambda seconds: asyncio.sleep(seconds / 20))
    running = asyncio.create_task(agent.run())
    try:
        for _ in range(3):
            async with Tunnel.open(site, agent_port=port) as tunnel, target(echo) as echo_port:
                await until(lambda tunnel=tunnel: len(tunnel.server.agents) == 1)  # type: ignore[misc]
                reader, writer = await http_connect(site.http_connect_uds, f"node-1:{echo_port}")
                writer.write(b"ping")
                assert await reader.readexactly(4) == b"ping"
                writer.close()
            await until(lambda: not agent.ready)
    finally:
        await cancelled(running)


async def test_it_reads_its_token_anew_for_each_attempt(
    site: Site, tunnel: Tunnel, caplog: pytest.LogCaptureFixture
) -> None:
    token = site.directory / "rotated"
    token.write_text("expired")
    agent = tunnel.start_agent(site.agent_settings(tunnel.server.agent_port, token_file=token))
    await until(lambda: "UNAUTHENTICATED" in caplog.text)
    assert "expired" not in caplog.text
    site.reviews.accept("fresh", node="node-1")
    token.write_text("fresh\n")
    await until(lambda: agent.ready)


async def test_it_waits_for_files_that_are_not_there_yet(site: Site, tunnel: Tunnel) -> None:
    token = site.directory / "late"
    agent = tunnel.start_agent(site.agent_settings(tunnel.server.agent_port, token_file=token))
    await asyncio.sleep(0.1)
    site.reviews.accept("late", node="node-1")
    token.write_text("late")
    await until(lambda: agent.ready)


async def test_it_keeps_a_stream_to_each_server(site: Site, tunnel: Tunnel) -> None:
    with Site.make() as other_site:
        other_site.pki = site.pki
        for name in ("server.crt", "server.key"):
            (other_site.directory / name).write_bytes((site.directory / name).read_bytes())
        async with Tunnel.open(other_site, client_ca=site.pki.ca) as other:
            other_site.reviews.accept("token-of-node-1", node="node-1")
            servers = tuple(f"127.0.0.1:{each.server.agent_port}" for each in (tunnel, other))
            agent = tunnel.start_agent(site.agent_settings(0, servers=servers))
            await until(lambda: agent.ready)
            assert len(tunnel.server.agents) == len(other.server.agents) == 1
        await until(lambda: not agent.ready)
        assert len(tunnel.server.agents) == 1


def test_pauses_grow_are_drawn_and_have_an_end() -> None:
    for failures in range(2000):
        assert 0 < next_pause(failures) <= LONGEST_PAUSE
    assert max(next_pause(0) for _ in range(50)) < min(next_pause(4) for _ in range(50))
    assert len({next_pause(3) for _ in range(20)}) > 10


async def test_health_says_whether_it_is_connected() -> None:
    port, ready = free_port(), [False]
    serving = asyncio.create_task(serve_health(port, lambda: ready[0]))

    async def status(path: str) -> int:
        def get() -> int:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        return await asyncio.to_thread(get)

    try:
        while True:
            try:
                assert await status("/healthz") == 200
                break
            except urllib.error.URLError:
                await asyncio.sleep(0.01)
        assert await status("/readyz") == 503
        ready[0] = True
        assert await status("/readyz") == 200
        assert await status("/else") == 503
    finally:
        await cancelled(serving)


@pytest.mark.parametrize("arguments", ["", "--token-file=t --cert=c --key=k", "--cert=c"])
def test_a_command_line_without_one_identity_is_refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--server=s:1", "--node-name=n", "--ca=ca", *arguments.split()])
    assert "--token-file" in capsys.readouterr().err


def test_it_imports_nothing_that_its_image_does_not_hold() -> None:
    program = "import sys, joiner.konnectivity.agent; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    foreign = {name for name in output.split() if name not in sys.stdlib_module_names and not name.startswith("_")}
    tolerated = {
        "cython_runtime",
        "grpc_tools",
        "sitecustomize",
    }  # not a file; grpc's own "if it is there"; ours to set
    assert foreign - tolerated == {"google", "grpc", "joiner", "typing_extensions"}


class TestProcess:
    """As it runs on a node."""

    def test_it_is_small(self, site: Site) -> None:
        with processes(site, "node-1") as (_, (agent,)):
            assert private_mb(agent.pid) < MEMORY_BUDGET_MB

    def test_it_leaves_when_it_is_told_to(self, site: Site) -> None:
        with processes(site, "node-1", "node-2") as (server, agents):
            agents[0].send_signal(signal.SIGTERM)
            assert agents[0].wait(timeout=30) == 0
            wait_for_agents(site, 1)
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=30) == 0
            assert not site.http_connect_uds.exists()
            logs = "".join(log.read_text() for log in site.directory.glob("*.log"))
            assert "Traceback" not in logs
            assert "token-of" not in logs

    def test_it_survives_the_death_of_its_server_and_the_server_its(self, site: Site) -> None:
        port = free_port()
        started = [start_server(site, port), start_agent(site, port, "node-1")]
        try:
            wait_for_agents(site, 1)
            os.kill(started[0].pid, signal.SIGKILL)
            started[0].wait()
            started.append(start_server(site, port))
            wait_for_agents(site, 1)
            os.kill(started[1].pid, signal.SIGKILL)
            started[1].wait()
            wait_for_agents(site, 0)
            started.append(start_agent(site, port, "node-1"))
            wait_for_agents(site, 1)
        finally:
            for process in started:
                process.kill()
                process.wait()

    def test_no_secret_is_in_its_arguments(self, site: Site) -> None:
        with processes(site, "node-1") as (server, agents):
            for process in (server, *agents):
                assert "token-of" not in Path(f"/proc/{process.pid}/cmdline").read_text()


def test_a_taken_port_is_an_error_that_says_so(site: Site) -> None:
    with processes(site) as (server, _):
        port = next(
            argument.split("=")[1]
            for argument in map(str, server.args)
            if argument.startswith("--agent-port")  # type: ignore[arg-type]
        )
        second = start_server(site, int(port))
        assert second.wait(timeout=30) == 1
    assert f"can't listen on 127.0.0.1:{port}" in (site.directory / "server.log").read_text()
