"""The Konnectivity agent: dials out to the servers from a node and connects their dials to targets there.

It never gives up. Whatever ends a stream (a server that was replaced, a lost network, a refused token), the next
attempt comes after a pause that grows with each failure, drawn at random so that a thousand agents do not return as
one. Each attempt starts from nothing: it resolves the address and reads the CA and the token anew, for tokens are
replaced every hour.

Only the standard library, grpc and protobuf are imported here: the image holds nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import grpc

from joiner.konnectivity import transport
from joiner.konnectivity.allocation import keep_buffers
from joiner.konnectivity.dialing import NodeDialer
from joiner.konnectivity.health import serve_health
from joiner.konnectivity.packets import Drain, encode
from joiner.konnectivity.serving import AgentLink

HANDSHAKE_TIMEOUT: Final = 20.0
"""Seconds for TCP, TLS and the server's answer."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0
"""Seconds between attempts, at most and before the draw."""
KEEPALIVE: Final = 30.0
"""Seconds between pings that tell a dead server from a silent one."""
DRAIN_TIMEOUT: Final = 3.0
"""Seconds for open connections to end, after SIGTERM."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """:param servers: ``host:port``; a stream is kept to each
    :param ca: file that the servers' certificates are checked with
    :param token_file: of the service account token; read for each attempt
    :param certificate: of the node, with ``key``: instead of a token
    :param node_ip: where the kubelet listens if not on 127.0.0.1, and the address for which dials come here
    :param keepalive: seconds; upstream's servers want 300 at least
    """

    servers: tuple[str, ...]
    node_name: str
    ca: Path
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    node_ip: str = ""
    agent_id: str = ""
    window: int = transport.DEFAULT_WINDOW
    keepalive: float = KEEPALIVE


class RefusedError(Exception):
    """The server did not take the agent; or there was none."""


class Agent:
    """:param sleep: returns so many seconds later"""

    def __init__(self, settings: AgentSettings, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self._agent_id = settings.agent_id or str(uuid.uuid4())
        self._dialer = NodeDialer(settings.node_name, settings.node_ip)
        self.links: dict[str, AgentLink] = {}
        """Server → its stream, of those that are connected."""

    @property
    def ready(self) -> bool:
        """Whether every server is connected."""
        return len(self.links) == len(self._settings.servers)

    async def run(self) -> None:
        """Keep a stream to each server until cancelled."""
        async with asyncio.TaskGroup() as group:
            for server in self._settings.servers:
                group.create_task(self._stay_connected(server))

    async def drain(self) -> None:
        """Ask for no more dials, and wait a little for the connections that are open."""
        for link in self.links.values():
            link.send(encode(Drain()))
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT):
                for link in list(self.links.values()):
                    await link.emptied()

    async def _stay_connected(self, server: str) -> None:
        failures = 0
        while True:
            try:
                reason = await self._connect(server)
                failures = 0
            except (RefusedError, OSError) as error:
                reason, failures = str(error), failures + 1
            pause = next_pause(failures)
            _log.warning("no stream to %s (%s): again in %.1f s", server, reason, pause)
            await self._sleep(pause)

    async def _connect(self, server: str) -> str:
        """One stream, from its beginning to its end.

        :returns: why it ended
        """
        async with self._channel(server) as channel:
            call = channel.stream_stream(transport.AGENT_METHOD)(metadata=self._metadata())
            headers = await _answer(call)
            link = AgentLink(
                call, self._dialer, window=self._settings.window, peer_window=int(headers.get(transport.WINDOW, 0))
            )
            _log.info("connected to %s (server %s)", server, headers[transport.SERVER_ID])
            self.links[server] = link
            try:
                return await link.run()
            finally:
                del self.links[server]

    @asynccontextmanager
    async def _channel(self, server: str) -> AsyncIterator[grpc.aio.Channel]:
        settings = self._settings
        credentials = grpc.ssl_channel_credentials(
            settings.ca.read_bytes(),
            settings.key.read_bytes() if settings.key else None,
            settings.certificate.read_bytes() if settings.certificate else None,
        )
        channel = grpc.aio.secure_channel(server, credentials, options=transport.agent_options(settings.keepalive))
        try:
            yield channel
        finally:
            await channel.close()

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        settings = self._settings
        identifiers = {"host": settings.node_name}
        if settings.node_ip:
            identifiers["ipv6" if ":" in settings.node_ip else "ipv4"] = settings.node_ip
        metadata = [
            (transport.AGENT_ID, self._agent_id),
            (transport.AGENT_IDENTIFIERS, urlencode(identifiers)),
            (transport.WINDOW, str(settings.window)),
        ]
        if settings.token_file:
            metadata.append((transport.AUTHORIZATION, f"Bearer {settings.token_file.read_text().strip()}"))
        return tuple(metadata)


def next_pause(failures: int) -> float:
    """Seconds until the next attempt, after so many failures in a row: twice as long each time, half of it drawn."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads load, guards nothing


async def _answer(call: Any) -> dict[str, str]:
    """The metadata with which the server takes the agent."""
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            headers = {key: str(value) for key, value in await call.initial_metadata()}
            if transport.SERVER_ID not in headers:
                raise RefusedError(f"{(await call.code()).name}: {await call.details()}")
    except TimeoutError:
        call.cancel()
        raise RefusedError(f"no answer within {HANDSHAKE_TIMEOUT:.0f} s") from None
    except grpc.RpcError as error:
        raise RefusedError(str(error)) from error
    return headers


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a command line."""
    parser = argparse.ArgumentParser(prog="konnectivity-agent", description="Lets kube-apiserver reach this node.")
    parser.add_argument("--server", action="append", required=True, metavar="HOST:PORT", help="may be repeated")
    parser.add_argument("--node-name", required=True)
    parser.add_argument("--node-ip", default="", help="where the kubelet listens if not on 127.0.0.1")
    parser.add_argument("--ca", type=Path, required=True, help="that signed the servers' certificates")
    parser.add_argument("--token-file", type=Path, help="service account token for system:konnectivity-server")
    parser.add_argument("--cert", type=Path, help="the node's certificate, instead of a token")
    parser.add_argument("--key", type=Path)
    parser.add_argument("--agent-id", default="", help="unique among agents; drawn if not given")
    parser.add_argument("--window", type=int, default=transport.DEFAULT_WINDOW, help="bytes of one connection")
    parser.add_argument("--keepalive-seconds", type=float, default=KEEPALIVE)
    parser.add_argument("--health-port", type=int, default=0, help="of /healthz and /readyz on 127.0.0.1; 0: none")
    options = parser.parse_args(arguments)
    if bool(options.token_file) == bool(options.cert) or bool(options.cert) != bool(options.key):
        parser.error("give either --token-file, or --cert and --key")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    keep_buffers()
    settings = AgentSettings(
        servers=tuple(options.server),
        node_name=options.node_name,
        ca=options.ca,
        token_file=options.token_file,
        certificate=options.cert,
        key=options.key,
        node_ip=options.node_ip,
        agent_id=options.agent_id,
        window=options.window,
        keepalive=options.keepalive_seconds,
    )
    asyncio.run(_run_until_signal(Agent(settings), options.health_port))
    return 0


async def _run_until_signal(agent: Agent, health_port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(agent.run())]
    if health_port:
        tasks.append(asyncio.create_task(serve_health(health_port, lambda: agent.ready)))
    await stop.wait()
    await agent.drain()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    sys.exit(main())
