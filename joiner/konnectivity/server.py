"""The Konnectivity server: kube-apiserver on one side, the agents on the other.

kube-apiserver comes in through unix sockets that only their owner may open; the agents dial TLS ports. The two sides
are separate gRPC servers, so that an agent can't call ProxyService. gRPC in Python can't ask for a client certificate
without insisting on one, hence a port for agents with tokens and one for agents with certificates.

Certificates are read at the start only; a new one needs a restart, which the agents answer by dialling again.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from autonodes.core.errors import AutonodesError
from autonodes.kube.client import KubeClient
from autonodes.kube.resources import TOKENREVIEWS
from joiner.konnectivity import transport
from joiner.konnectivity.agents import Agents, NoAgentError
from joiner.konnectivity.allocation import keep_buffers
from joiner.konnectivity.authentication import (
    AGENT_USER,
    Authenticator,
    UnauthenticatedError,
    parse_identifiers,
)
from joiner.konnectivity.backend import Backend, Dial, Frontend
from joiner.konnectivity.dialing import split_address
from joiner.konnectivity.grpc_frontend import GrpcFrontend
from joiner.konnectivity.http_frontend import HttpListener

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """:param uds: socket of ProxyService (``proxyProtocol: GRPC``); None for none
    :param http_connect_uds: socket for ``proxyProtocol: HTTPConnect``; None for none
    :param agent_port: for agents with tokens; 0 lets the kernel choose, None for none
    :param agent_mtls_port: for agents with certificates of ``client_ca``; as above
    :param kubeconfig: of a user who may create TokenReviews; None if no tokens are accepted
    :param window: bytes that one connection may have waiting here
    :param server_count: how many servers there are; upstream's agents dial until they have met as many
    """

    certificate: Path
    key: Path
    uds: Path | None = None
    http_connect_uds: Path | None = None
    bind_address: str = "0.0.0.0"  # noqa: S104 -- agents come from anywhere
    agent_port: int | None = None
    agent_mtls_port: int | None = None
    client_ca: Path | None = None
    kubeconfig: Path | None = None
    agent_user: str = AGENT_USER
    cluster_domain: str = "cluster.local"
    window: int = transport.DEFAULT_WINDOW
    server_count: int = 1


class KonnectivityServer:
    """One server; `run` it once."""

    def __init__(self, settings: ServerSettings) -> None:
        self.agents = Agents(settings.cluster_domain)
        self.agent_port = self.agent_mtls_port = 0
        """The ports that are bound, once ``ready`` is set."""
        self.ready = asyncio.Event()
        self._settings = settings
        self._server_id = str(uuid.uuid4())
        self._client: KubeClient | None = None
        self._authenticator = Authenticator(self._reviewer(), user=settings.agent_user)

    async def run(self) -> None:
        """Serve until cancelled.

        :raises OSError: an address is taken, a file can't be read
        """
        servers = [await self._serve_agents()]
        try:
            if self._settings.uds:
                servers.append(await self._serve_grpc_frontend(self._settings.uds))
            self.ready.set()
            await self._serve_http_frontend()
        finally:
            for server in servers:
                await server.stop(None)
            if self._client:
                await self._client.close()

    def dial(self, address: str, frontend: Frontend) -> Dial:
        """Connect ``frontend`` with ``address`` through the agent that it takes.

        :raises NoAgentError: there is none, or the address makes no sense
        """
        try:
            host, _ = split_address(address)
        except ValueError as error:
            raise NoAgentError(str(error)) from error
        return self.agents.route(host).dial(address, frontend)

    def metrics(self) -> str:
        """In Prometheus' text format."""
        gauges = {
            "konnectivity_agents": len(self.agents),
            "konnectivity_connections": sum(len(agent.connections) for agent in self.agents),
            "konnectivity_pending_dials": sum(len(agent.dials) for agent in self.agents),
        }
        return "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in gauges.items())

    async def connect(self, _: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """AgentService.Connect: one agent, for as long as its stream lasts."""
        metadata = _values(context.invocation_metadata() or ())
        agent_id = "".join(metadata.get(transport.AGENT_ID, ["?"])[:1])
        backend = await self._admit(agent_id, metadata, context)
        await context.send_initial_metadata(
            (
                (transport.SERVER_ID, self._server_id),
                (transport.SERVER_COUNT, str(self._settings.server_count)),
                (transport.WINDOW, str(self._settings.window)),
            )
        )
        self.agents.add(backend)
        _log.info("agent %s of node %s is connected", agent_id, backend.hosts)
        try:
            reason = await backend.run()
            _log.info("agent %s of node %s is gone: %s", agent_id, backend.hosts, reason)
        finally:
            self.agents.remove(backend)

    async def proxy(self, _: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """ProxyService.Proxy: one connection of kube-apiserver."""
        await GrpcFrontend(context, self.dial).serve()

    async def _admit(
        self, agent_id: str, metadata: Mapping[str, list[str]], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> Backend:
        try:
            identifiers = parse_identifiers("".join(metadata.get(transport.AGENT_IDENTIFIERS, [])))
            await self._authenticator.authenticate(
                context.auth_context(), metadata.get(transport.AUTHORIZATION, []), identifiers
            )
        except UnauthenticatedError as error:
            _log.warning("refused agent %s from %s: %s", agent_id, context.peer(), error)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except AutonodesError as error:
            _log.warning("can't check the token of agent %s: %s", agent_id, error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the API server does not review tokens now")
        return Backend(
            context,
            window=self._settings.window,
            peer_window=_window(metadata),
            agent_id=agent_id,
            hosts=identifiers.hosts,
            addresses=identifiers.addresses,
        )

    def _reviewer(self) -> Any:
        if self._settings.kubeconfig is None:
            return None
        self._client = KubeClient.from_kubeconfig(self._settings.kubeconfig, user_agent="konnectivity-server")
        return self._review

    async def _review(self, token: str) -> Mapping[str, Any]:
        assert self._client is not None  # noqa: S101 -- set before this method is handed out
        spec = {"token": token, "audiences": [transport.AUDIENCE]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        review = await self._client.create(TOKENREVIEWS, body)
        status: Mapping[str, Any] = review.get("status", {})
        return status

    async def _serve_agents(self) -> grpc.aio.Server:
        settings = self._settings
        server = _grpc_server(transport.AGENT_SERVICE, "Connect", self.connect)
        pair = [(settings.key.read_bytes(), settings.certificate.read_bytes())]
        if settings.agent_port is not None:
            self.agent_port = _bind(server, settings.bind_address, settings.agent_port, pair, None)
        if settings.agent_mtls_port is not None and settings.client_ca:
            client_ca = settings.client_ca.read_bytes()
            self.agent_mtls_port = _bind(server, settings.bind_address, settings.agent_mtls_port, pair, client_ca)
        await server.start()
        return server

    async def _serve_grpc_frontend(self, path: Path) -> grpc.aio.Server:
        server = _grpc_server(transport.PROXY_SERVICE, "Proxy", self.proxy)
        mask = os.umask(0o177)
        try:
            server.add_insecure_port(f"unix:{path}")
        finally:
            os.umask(mask)
        await server.start()
        return server

    async def _serve_http_frontend(self) -> None:
        if self._settings.http_connect_uds:
            await HttpListener(self._settings.http_connect_uds, self.dial, self.metrics).serve()
        else:
            await asyncio.Event().wait()


def _grpc_server(service: str, method: str, handler: Any) -> grpc.aio.Server:
    server = grpc.aio.server(options=transport.server_options())
    handlers = {method: grpc.stream_stream_rpc_method_handler(handler)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    return server


def _bind(
    server: grpc.aio.Server, address: str, port: int, pair: Sequence[tuple[bytes, bytes]], client_ca: bytes | None
) -> int:
    host = f"[{address}]" if ":" in address else address
    credentials = grpc.ssl_server_credentials(pair, client_ca, require_client_auth=client_ca is not None)
    try:
        return int(server.add_secure_port(f"{host}:{port}", credentials))
    except RuntimeError as error:
        raise OSError(f"can't listen on {host}:{port}: {error}") from error


def _values(metadata: Any) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for key, value in metadata:
        values.setdefault(key, []).append(value)
    return values


def _window(metadata: Mapping[str, list[str]]) -> int:
    """Of a peer; 0 for one that knows no windows."""
    announced = metadata.get(transport.WINDOW, ["0"])[0]
    return int(announced) if announced.isdecimal() else 0


def parse_arguments(arguments: Sequence[str] | None = None) -> ServerSettings:
    """The settings of a command line."""
    parser = argparse.ArgumentParser(prog="konnectivity-server", description="Carries kube-apiserver's dials to nodes.")
    parser.add_argument("--uds", type=Path, help="socket for proxyProtocol GRPC")
    parser.add_argument("--http-connect-uds", type=Path, help="socket for proxyProtocol HTTPConnect")
    parser.add_argument("--bind-address", default="0.0.0.0", help="of the agents' ports")  # noqa: S104
    parser.add_argument("--agent-port", type=int, help="for agents with service account tokens")
    parser.add_argument("--agent-mtls-port", type=int, help="for agents with node certificates")
    parser.add_argument("--cert", dest="certificate", type=Path, required=True, help="of the agents' ports")
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--client-ca", type=Path, help="that signs the nodes' certificates")
    parser.add_argument("--kubeconfig", type=Path, help="of a user who may create TokenReviews")
    parser.add_argument("--agent-user", default=AGENT_USER, help="user name of the agents' service account")
    parser.add_argument("--cluster-domain", default="cluster.local")
    parser.add_argument("--window", type=int, default=transport.DEFAULT_WINDOW, help="bytes of one connection")
    parser.add_argument("--server-count", type=int, default=1, help="of servers that share the agents")
    options = parser.parse_args(arguments)
    if options.agent_port is not None and options.kubeconfig is None:
        parser.error("--agent-port needs --kubeconfig: tokens are reviewed by the API server")
    if options.agent_mtls_port is not None and options.client_ca is None:
        parser.error("--agent-mtls-port needs --client-ca")
    if options.agent_port is None and options.agent_mtls_port is None:
        parser.error("give --agent-port, --agent-mtls-port or both")
    return ServerSettings(**vars(options))


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit code 1 when it can't."""
    settings = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    keep_buffers()
    try:
        asyncio.run(_run_until_signal(settings))
    except (OSError, AutonodesError) as error:
        _log.error("%s", error)
        return 1
    return 0


async def _run_until_signal(settings: ServerSettings) -> None:
    task = asyncio.ensure_future(KonnectivityServer(settings).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    sys.exit(main())
