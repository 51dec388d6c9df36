"""HTTP CONNECT on a unix socket: what kube-apiserver's egress selector dials with ``proxyProtocol: HTTPConnect``.

Beside ProxyService this is the cheaper way in: no gRPC connection under each dial, no message per TLS record, a reader
may stall for as long as it likes, and half-close is a plain shutdown.

Two plain requests are answered too, for whoever supervises the server: ``GET /readyz`` and ``GET /metrics``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from joiner.konnectivity.agents import NoAgentError
from joiner.konnectivity.connection import Connection
from joiner.konnectivity.grpc_frontend import Dialer
from joiner.konnectivity.sockets import SocketEndpoint

HEAD_LIMIT: Final = 8192
"""Bytes of a request's head."""
HEAD_TIMEOUT: Final = 10.0
"""Seconds for a client to send it."""

_ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"

_log = logging.getLogger(__name__)


class HttpFrontend(SocketEndpoint):
    """The endpoint of one CONNECT request."""

    patience = None

    def established(self, connection: Connection) -> None:
        """Answer 200, then begin."""
        self.write(_ESTABLISHED)
        self.attach(connection)

    def refused(self, error: str) -> None:
        """Answer 503 and close. kube-apiserver shows its users nothing of the answer but the status line."""
        self.write(_response(f"503 {error}", ""))
        self.close()


class HttpListener:
    """Accepts CONNECT requests until it is closed.

    :param path: of the socket; a stale one is replaced. Only the owner may connect
    :param dial: starts a dial
    :param metrics: renders the answer of ``GET /metrics``
    """

    def __init__(self, path: Path, dial: Dialer, metrics: Callable[[], str]) -> None:
        self._path, self._dial, self._metrics = path, dial, metrics
        self._heads: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Accept until cancelled."""
        with contextlib.closing(self._listen()) as listener:
            try:
                while True:
                    await self._accept(listener)
            finally:
                for task in self._heads:
                    task.cancel()
                self._path.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        os.fchmod(listener.fileno(), 0o600)  # before it has a name
        listener.bind(str(self._path))
        listener.listen(1024)
        return listener

    async def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = await asyncio.get_running_loop().sock_accept(listener)
        except OSError as error:  # out of file descriptors, most likely: those who wait can wait a little longer
            _log.warning("can't accept: %s", error)
            await asyncio.sleep(0.1)
            return
        task = asyncio.create_task(self._answer(client))
        self._heads.add(task)
        task.add_done_callback(self._heads.discard)

    async def _answer(self, client: socket.socket) -> None:
        try:
            async with asyncio.timeout(HEAD_TIMEOUT):
                head, rest = await _read_head(client)
        except (OSError, ValueError) as error:
            _log.debug("no request came: %s", error)
            client.close()
            return
        except BaseException:
            client.close()
            raise
        self._dispatch(HttpFrontend(client, received=rest), head)

    def _dispatch(self, frontend: HttpFrontend, head: bytes) -> None:
        match head.split(b"\r\n", 1)[0].split(b" "):
            case [b"CONNECT", address, _]:
                try:
                    self._dial(address.decode("ascii", "replace"), frontend)
                except NoAgentError as error:
                    frontend.refused(str(error))
                return
            case [b"GET", b"/readyz", _]:
                frontend.write(_response("200 OK", "ok\n"))
            case [b"GET", b"/metrics", _]:
                frontend.write(_response("200 OK", self._metrics()))
            case _:
                frontend.write(_response("405 Method Not Allowed", "this is a proxy for CONNECT\n"))
        frontend.close()


async def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    loop, received = asyncio.get_running_loop(), b""
    while b"\r\n\r\n" not in received:
        if len(received) > HEAD_LIMIT:
            raise ValueError("the request's head is too long")
        more = await loop.sock_recv(client, HEAD_LIMIT)
        if not more:
            raise ValueError("closed before a request came")
        received += more
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest


def _response(status: str, body: str) -> bytes:
    status = " ".join(status.split())  # an error of several lines must not become headers
    content = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + content
