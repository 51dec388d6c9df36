"""An HTTP proxy in front of a real API server that does on demand what networks and servers do by themselves.

Plain HTTP towards the client, the administrator's credentials towards the server. Faults are per request: the next
answers (`refuse_next`), a list that is cut in its middle, watch streams that are cut, frozen (the connection stands and
nothing passes) or told that their version is too old.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
from aiohttp import web

from autonodes.kube.client import KubeClient
from autonodes.kube.kubeconfig import Credentials, load_kubeconfig

_KEPT: Final = 1e6
"""Seconds that idle connections are kept: this proxy does not close any by itself."""


class FaultProxy:
    """:param kubeconfig: how to reach the server"""

    def __init__(self, kubeconfig: Path) -> None:
        self._upstream = load_kubeconfig(kubeconfig)
        self._refusals: deque[tuple[int, dict[str, str], str]] = deque()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._answering = asyncio.Event()
        self._answering.set()
        self._streams: dict[web.StreamResponse, web.Request] = {}
        self._writes: set[asyncio.Future[None]] = set()
        self.requests: list[str] = []
        self.cut_lists = False
        self.lose_answers = False
        self.lost_creations = 0
        self.cut_next_list = False
        self.expire_watches = 0
        self.expire_continues = 0
        self.split_every: int | None = None
        self.url = ""

    def client(self, **options: Any) -> KubeClient:
        return KubeClient(Credentials(server=self.url), **options)

    def refuse_next(self, code: int, *, retry_after: str = "", body: str = "", times: int = 1) -> None:
        headers = {"Retry-After": retry_after} if retry_after else {}
        self._refusals.extend([(code, headers, body)] * times)

    def hang(self) -> None:
        """Requests are taken and not answered."""
        self._answering.clear()

    def stop_hanging(self) -> None:
        self._answering.set()

    def stop_refusing(self) -> None:
        self._refusals.clear()

    def inject(self, line: bytes) -> None:
        """Send something to all watchers that the server did not say."""
        for stream in self._streams:
            self._writes.add(write := asyncio.ensure_future(stream.write(line)))
            write.add_done_callback(self._writes.discard)

    def freeze(self) -> None:
        """Streams that stand pass nothing any more; what the server sends meanwhile is lost to them."""
        self._thawed.clear()

    def thaw(self) -> None:
        """New streams pass; the frozen ones stay as they are."""
        self._thawed = asyncio.Event()
        self._thawed.set()

    def cut_streams(self) -> None:
        """Reset the connections of all watches."""
        for request in self._streams.values():
            abort(request)

    @property
    def watches(self) -> int:
        """Watch streams that stand now."""
        return len(self._streams)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(ssl=self._upstream.tls or True, limit=0, keepalive_timeout=_KEPT)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=timeout) as session:
            self._session = session
            async with self.serving():
                yield self

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        """Only the side towards the client."""
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(
            app, shutdown_timeout=0.1, access_log=None, handler_cancellation=True, keepalive_timeout=_KEPT
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self._thawed.set()
            self.cut_streams()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        await self._answering.wait()
        watching = request.query.get("watch") in ("1", "true")
        if self._refusals:  # strictly before anything that asks the server
            code, headers, body = self._refusals.popleft()
            return web.Response(status=code, headers=headers, text=body)
        if watching and self.expire_watches:
            self.expire_watches -= 1
            return gone()
        if request.query.get("continue") and self.expire_continues:
            self.expire_continues -= 1
            return gone()
        return await (self._watched(request) if watching else self._answered(request))

    async def _watched(self, request: web.Request) -> web.StreamResponse:
        async with self._forwarded(request, b"") as answer:
            if answer.status == 200:
                return await self._stream(request, answer)
            return web.Response(status=answer.status, headers=passed(answer), body=await answer.read())

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        async with self._forwarded(request, await request.read()) as answer:
            content = await answer.read()
        if self.lose_answers or (self.lost_creations and request.method == "POST"):
            self.lost_creations = max(0, self.lost_creations - 1)
            abort(request)
        response = web.StreamResponse(status=answer.status, headers=passed(answer))
        response.content_length = len(content)
        await response.prepare(request)
        if (self.cut_lists or self.cut_next_list) and request.method == "GET":
            self.cut_next_list = False
            await response.write(content[: len(content) // 2])
            if request.transport is not None:
                request.transport.close()
            return response
        await response.write(content)
        return response

    def _forwarded(
        self, request: web.Request, body: bytes
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in ("host", "connection")}
        return self._session.request(
            request.method, self._upstream.server + request.path_qs, data=body or None, headers=headers
        )

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(headers=passed(answer))
        thawed = self._thawed
        try:
            await response.prepare(request)
            self._streams[response] = request
            async for chunk in answer.content.iter_any():
                await thawed.wait()
                step = self.split_every or len(chunk)
                for start in range(0, len(chunk), step):
                    await response.write(chunk[start : start + step])
                    if self.split_every:
                        await asyncio.sleep(0)
        except (aiohttp.ClientError, ConnectionError):
            pass
        finally:
            self._streams.pop(response, None)
        return response


def abort(request: web.Request) -> web.Response:
    """Reset the request's connection; what is returned is for the server's sake, and nobody gets it."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def passed(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """The headers of an answer that matter to a client."""
    return {key: value for key, value in answer.headers.items() if key in ("Content-Type", "Retry-After")}


def gone() -> web.Response:
    """The answer to a version that is too old."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}
    return web.json_response(status | {"message": "too old resource version"}, status=410)
