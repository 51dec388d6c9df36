"""A Konnectivity server and agents for tests, with their PKI, an API server that reviews tokens, targets, and clients.

In a test's own event loop (`Tunnel`), so that the test can look into their tables; as processes of their own
(`processes`) where memory, signals and speed are what matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from joiner.konnectivity.agent import Agent, AgentSettings
from joiner.konnectivity.packets import Packet, decode, encode
from joiner.konnectivity.server import KonnectivityServer, ServerSettings

Key = ec.EllipticCurvePrivateKey


class Pki:
    """A CA and what it signs, as files in ``directory``."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject(name)
        self.ca, _ = self._write(name, self._sign(self._name, self._key, ()), self._key)

    def issue(self, common_name: str, organization: str = "", *, host: str = "localhost") -> tuple[Path, Path]:
        """A certificate for client and server use, on the loopback too; the files of it and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(common_name, organization)
        names = (x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        return self._write(common_name.replace(":", "-"), self._sign(subject, key, names), key)

    def _sign(self, subject: x509.Name, key: Key, names: Sequence[x509.GeneralName]) -> x509.Certificate:
        """:param names: none for a CA"""
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(minutes=1),
            not_valid_after=now + timedelta(days=1),
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate, key: Key) -> tuple[Path, Path]:
        files = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        files[1].write_bytes(private)
        return files


def _subject(common_name: str, organization: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


class TokenReviews:
    """An API server that knows nothing but TokenReviews of the tokens it was given."""

    def __init__(self) -> None:
        self.statuses: dict[str, dict[str, Any]] = {}
        self.requests: list[dict[str, Any]] = []
        reviews = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                reviews.requests.append({"path": self.path, **body})
                body["status"] = reviews.statuses.get(body["spec"]["token"], {"authenticated": False})
                answer = json.dumps(body).encode()
                self.send_response(201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def accept(
        self, token: str, *, node: str, user: str = "system:serviceaccount:kube-system:konnectivity-agent"
    ) -> None:
        """Know ``token`` as one of a pod on ``node`` ("": not bound to a node)."""
        extra = {"authentication.kubernetes.io/node-name": [node]} if node else {}
        self.statuses[token] = {"authenticated": True, "user": {"username": user, "extra": extra}}

    def kubeconfig(self, path: Path) -> Path:
        """A kubeconfig that leads here."""
        config = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{self._server.server_port}"}}],
            "users": [{"name": "test", "user": {}}],
        }
        path.write_text(json.dumps(config))
        return path

    def close(self) -> None:
        """Answer no more. May be called again."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


@dataclass
class Site:
    """What a server and its agents need on disk, and settings made from it."""

    directory: Path
    pki: Pki
    reviews: TokenReviews
    kubeconfig: Path

    @classmethod
    @contextlib.contextmanager
    def make(cls) -> Iterator[Site]:
        """In a directory with a short name, for the sake of the sockets' paths."""
        with tempfile.TemporaryDirectory(prefix="kn-") as name, contextlib.closing(TokenReviews()) as reviews:
            directory = Path(name)
            pki = Pki(directory)
            pki.issue("server")
            yield cls(directory, pki, reviews, reviews.kubeconfig(directory / "kubeconfig"))

    @property
    def uds(self) -> Path:
        return self.directory / "grpc.sock"

    @property
    def http_connect_uds(self) -> Path:
        return self.directory / "http.sock"

    def server_settings(self, **changes: Any) -> ServerSettings:
        settings: dict[str, Any] = {
            "uds": self.uds,
            "http_connect_uds": self.http_connect_uds,
            "bind_address": "127.0.0.1",
            "agent_port": 0,
            "agent_mtls_port": 0,
            "certificate": self.directory / "server.crt",
            "key": self.directory / "server.key",
            "client_ca": self.pki.ca,
            "kubeconfig": self.kubeconfig,
        }
        return ServerSettings(**(settings | changes))

    def agent_settings(self, port: int, node: str = "node-1", **changes: Any) -> AgentSettings:
        """With a good token for ``node``."""
        token = self.directory / f"{node}.token"
        if not token.exists():
            token.write_text(f"token-of-{node}")
            self.reviews.accept(f"token-of-{node}", node=node)
        settings: dict[str, Any] = {
            "servers": (f"127.0.0.1:{port}",),
            "node_name": node,
            "ca": self.pki.ca,
            "token_file": token,
        }
        return AgentSettings(**(settings | changes))


async def until(condition: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Return once ``condition`` holds.

    :raises TimeoutError: it did not within ``seconds``
    """
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 -- of any kind, so there is no event to wait for
            await asyncio.sleep(0.01)


@dataclass
class Tunnel:
    """A server in this event loop, and agents as the test wants them."""

    site: Site
    server: KonnectivityServer
    agents: list[Agent] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, site: Site, **changes: Any) -> AsyncIterator[Tunnel]:
        tunnel = cls(site, KonnectivityServer(site.server_settings(**changes)))
        try:
            tunnel._tasks.append(asyncio.create_task(tunnel.server.run()))
            await tunnel.server.ready.wait()
            await until(site.http_connect_uds.exists)
            yield tunnel
        finally:
            for task in reversed(tunnel._tasks):
                await cancelled(task)

    async def add_agent(self, node: str = "node-1", **changes: Any) -> Agent:
        """An agent that is connected."""
        before = len(self.server.agents)
        agent = self.start_agent(self.site.agent_settings(self.server.agent_port, node, **changes))
        await until(lambda: len(self.server.agents) > before)
        await until(lambda: agent.ready)
        return agent

    def start_agent(self, settings: AgentSettings) -> Agent:
        """An agent that tries, and tries again without a pause to speak of."""
        agent = Agent(settings, sleep=lambda seconds: asyncio.sleep(seconds / 20))
        self.agents.append(agent)
        self._tasks.append(asyncio.create_task(agent.run()))
        return agent

    async def stop_agent(self, agent: Agent) -> None:
        await cancelled(self._tasks[1 + self.agents.index(agent)])

    async def add_raw_agent(self, raw: RawAgent) -> None:
        """Wait until ``raw`` may be dialled through."""
        await until(lambda: any(agent.agent_id.startswith("raw-") for agent in self.server.agents))

    @property
    def connections(self) -> int:
        """That the server knows."""
        return sum(len(agent.connections) for agent in self.server.agents)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel and wait; an error of the task's own is raised here."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def http_connect(path: Path, address: str) -> Streams:
    """A connection by HTTP CONNECT.

    :raises ConnectionError: with the status line, when it is not 200
    """
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(f"CONNECT {address} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode()
    if status.split(" ")[1] != "200":
        writer.close()
        raise ConnectionError(status)
    return reader, writer


class GrpcClient:
    """One Proxy stream, packet by packet."""

    def __init__(self, path: Path) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix:{path}")
        self.call = self._channel.stream_stream("/ProxyService/Proxy")()

    async def __aenter__(self) -> GrpcClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def send(self, packet: Packet) -> None:
        await self.call.write(encode(packet))

    async def receive(self) -> Packet | None:
        """The next packet; None at the stream's end."""
        raw = await self.call.read()
        return decode(raw) if isinstance(raw, bytes) else None


class RawAgent:
    """An agent that the test plays, packet by packet.

    :param window: announced to the server; 0: as upstream's agents, which know no windows
    """

    def __init__(self, site: Site, port: int, node: str = "node-1", *, window: int = 0, token: str = "") -> None:
        settings = site.agent_settings(port, node)
        assert settings.token_file
        metadata = [
            ("agentid", f"raw-{node}"),
            ("agentidentifiers", f"host={node}"),
            ("authorization", f"Bearer {token or settings.token_file.read_text()}"),
        ]
        if window:
            metadata.append(("autonodes-window", str(window)))
        credentials = grpc.ssl_channel_credentials(settings.ca.read_bytes())
        self._channel = grpc.aio.secure_channel(settings.servers[0], credentials)
        self.call = self._channel.stream_stream("/AgentService/Connect")(metadata=tuple(metadata))
        self.headers: dict[str, str] = {}

    async def __aenter__(self) -> RawAgent:
        self.headers = {key: str(value) for key, value in await self.call.initial_metadata()}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def send(self, packet: Packet) -> None:
        await self.call.write(encode(packet))

    async def receive(self) -> Packet | None:
        """The next packet; None at the stream's end."""
        raw = await self.call.read()
        return decode(raw) if isinstance(raw, bytes) else None


class RawServer:
    """A server that the test plays, for one agent; it knows no windows unless it is told to announce one."""

    def __init__(self, site: Site, *, window: int = 0) -> None:
        self._site, self._window = site, window
        self._context: asyncio.Queue[Any] = asyncio.Queue()
        self._over = asyncio.Event()
        self.metadata: dict[str, str] = {}
        self.port = 0

    async def __aenter__(self) -> RawServer:
        settings = self._site.server_settings()
        self._server = grpc.aio.server()
        method = grpc.stream_stream_rpc_method_handler(self._connect)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("AgentService", {"Connect": method}),)
        )
        pair = [(settings.key.read_bytes(), settings.certificate.read_bytes())]
        self.port = self._server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair))
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await self._server.stop(None)

    async def agent(self) -> Any:
        """The stream of the next agent that connects."""
        return await self._context.get()

    async def _connect(self, _: object, context: Any) -> None:
        self.metadata = {key: str(value) for key, value in context.invocation_metadata()}
        headers = [("serverid", "raw"), ("servercount", "1")]
        if self._window:
            headers.append(("autonodes-window", str(self._window)))
        await context.send_initial_metadata(tuple(headers))
        self._context.put_nowait(context)
        await self._over.wait()


@contextlib.asynccontextmanager
async def target(handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[str]:
    """A TCP server on the loopback; yields its port as text. What is open at the end is cut."""
    open_: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        open_[task] = writer
        try:
            await handle(reader, writer)
            await writer.wait_closed()
        except (OSError, asyncio.CancelledError):  # asyncio.start_server chokes on a handler that was cancelled
            pass
        finally:
            writer.transport.abort()
            del open_[task]

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield str(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(open_):
            await cancelled(task)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, then the end."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    writer.close()


@contextlib.contextmanager
def processes(site: Site, *nodes: str) -> Iterator[tuple[subprocess.Popen[bytes], Sequence[subprocess.Popen[bytes]]]]:
    """A server and an agent for each node, each a process, all connected."""
    port = free_port()
    running: list[subprocess.Popen[bytes]] = []
    try:
        running.append(start_server(site, port))
        running += [start_agent(site, port, node) for node in nodes]
        wait_for_agents(site, len(nodes))
        yield running[0], running[1:]
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()


def start_server(site: Site, port: int) -> subprocess.Popen[bytes]:
    settings = site.server_settings()
    return _start(
        "joiner.konnectivity.server",
        site.directory / "server.log",
        f"--uds={site.uds}",
        f"--http-connect-uds={site.http_connect_uds}",
        "--bind-address=127.0.0.1",
        f"--agent-port={port}",
        f"--cert={settings.certificate}",
        f"--key={settings.key}",
        f"--kubeconfig={settings.kubeconfig}",
    )


def start_agent(site: Site, port: int, node: str) -> subprocess.Popen[bytes]:
    settings = site.agent_settings(port, node)
    return _start(
        "joiner.konnectivity.agent",
        site.directory / f"{node}.log",
        f"--server=127.0.0.1:{port}",
        f"--node-name={node}",
        f"--ca={settings.ca}",
        f"--token-file={settings.token_file}",
    )


def _start(module: str, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )


def wait_for_agents(site: Site, count: int, *, seconds: float = 30.0) -> None:
    """:raises TimeoutError: so many agents did not connect; with the logs"""
    deadline = time.monotonic() + seconds
    while gauge(site, "konnectivity_agents") != count:
        if time.monotonic() > deadline:
            raise TimeoutError("\n".join(log.read_text() for log in site.directory.glob("*.log")))
        time.sleep(0.05)


def gauge(site: Site, name: str) -> int:
    """From the server's metrics; -1 when it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(site.http_connect_uds))
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b"")).decode()
    except OSError:
        return -1
    return next(int(line.split()[1]) for line in answer.splitlines() if line.startswith(f"{name} "))


def private_mb(pid: int) -> float:
    """RssAnon of a process, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")) / 1000


def free_port() -> int:
    """Of the loopback, free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
