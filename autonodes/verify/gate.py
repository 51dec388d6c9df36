"""One controller's way to the API server, in virtual time, with all that can happen on it.

Requests go to the real API server and their answers come from it. Watches are served from the feeds, with a bookmark a
minute and an end after ``timeoutSeconds``, as the API server does it, but in virtual time.

Events are taken and go nowhere: they decide nothing, and there are more of them than of all else together.

Faults are windows: while one stands, requests are refused, taken and not answered, or carried out without an answer;
or only lists and watches fail, so that nothing can be counted while everything could be written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from autonodes.verify.doom import Doom, Gate
from autonodes.verify.faultproxy import abort, gone, passed
from autonodes.verify.feeds import Feed, Object, Traffic, collection

_BOOKMARK: Final = 60.0
_UNAVAILABLE: Final = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "ServiceUnavailable"}

Asked = Callable[[str, str, Object | None], None]
"""Told of each request that is going to change something, before it does: method, path, body."""

Seen = Callable[[str, str, int, Object | None], None]
"""Told of each request that was to change something, when it has: method, path, status, answer."""


class TimedGate(Gate):
    """:ivar outage: how requests fare now: "", ``refused``, ``unavailable``, ``deaf`` or ``hanging``
    :ivar lost: how many further answers of writes are lost
    """

    def __init__(
        self,
        kubeconfig: Path,
        doom: Doom,
        traffic: Traffic,
        seen: Seen,
        asked: Callable[[str, str, Object | None], None],
    ) -> None:
        super().__init__(kubeconfig, doom)
        self._traffic, self._seen, self._asked = traffic, seen, asked
        self._session = traffic.session
        self.outage = ""
        self._silent: Counter[str] = Counter()
        self.lost = 0
        self.losses = 0
        self.hits = 0
        """Requests and watches that an outage or a silence has met."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        async with self.serving():
            yield self

    def begin_outage(self, kind: str) -> None:
        self.outage = kind
        self.cut_streams()
        if kind == "hanging":
            self.hang()

    def end_outage(self) -> None:
        self.outage = ""
        self.stop_hanging()

    def silence(self, path: str) -> None:
        """Watches of a collection ("" for all) pass nothing from now on, without ending."""
        self._silent[path] += 1

    def unsilence(self, path: str) -> None:
        """New watches pass; those that fell silent stay so."""
        self._silent[path] -= 1

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.outage == "deaf" and not _is_collection(request):
            return await super()._handle(request)
        if self.outage:
            self.hits += 1
        if self.outage == "refused":
            return abort(request)
        if self.outage in ("unavailable", "deaf"):
            return web.json_response(_UNAVAILABLE | {"code": 503, "message": "an outage"}, status=503)
        return await super()._handle(request)

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = msgspec.json.decode(raw) if raw else None
        if request.path.endswith("/events") or "/events/" in request.path:
            return _taken(body)
        before = self._traffic.newest
        if request.method != "GET":
            self._asked(request.method, request.path, body)
        self._traffic.forwarding += 1
        try:
            async with self._forwarded(request, raw) as answer:
                status, content, headers = answer.status, await answer.read(), passed(answer)
            told = self._translated(content)
            if request.method != "GET" and status < 300:
                self._traffic.wrote(request.path, before, told)
        finally:
            self._traffic.forwarding -= 1
        if request.method != "GET":
            self._seen(request.method, request.path, status, told)
            if self.lost and status < 300:
                self.lost -= 1
                self.losses += 1
                return abort(request)
        return web.Response(status=status, headers=headers, body=content if told is None else msgspec.json.encode(told))

    def _translated(self, content: bytes) -> Object | None:
        try:
            body: Any = msgspec.json.decode(content)
        except msgspec.DecodeError:
            return None
        return self._traffic.translated(body) if isinstance(body, dict) else None

    async def _watched(self, request: web.Request) -> web.StreamResponse:
        path, version = collection(request.path), int(request.query.get("resourceVersion") or 0)
        feed = await self._traffic.feed(path, version)
        if feed is None:
            return await super()._watched(request)
        if feed.after(version) is None:
            return gone()
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            await response.prepare(request)
            self._streams[response] = request
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(float(request.query.get("timeoutSeconds") or 1800.0)):
                    await self._tell(response, request, feed, version)
        except ConnectionError:
            pass
        finally:
            self._streams.pop(response, None)
        return response

    async def _tell(self, response: web.StreamResponse, request: web.Request, feed: Feed, version: int) -> None:
        news = asyncio.Event()
        wants_bookmarks = request.query.get("allowWatchBookmarks") == "true"
        with feed.heard_by(news.set):
            while True:
                for line in feed.after(version) or ():
                    await self._pass(feed, response, line)
                version = feed.seen
                try:
                    async with asyncio.timeout(_BOOKMARK):
                        await news.wait()
                    news.clear()
                except TimeoutError:
                    if wants_bookmarks:
                        await self._pass(feed, response, feed.bookmark(version))

    async def _pass(self, feed: Feed, response: web.StreamResponse, line: bytes) -> None:
        """For ever, where the watch is silent: what it would have told is lost."""
        if self._silent[feed.path] or self._silent[""]:
            self.hits += 1
            await asyncio.Event().wait()
        await response.write(line)


def _is_collection(request: web.Request) -> bool:
    return request.method == "GET" and not {"watch", "limit"}.isdisjoint(request.query)


def _taken(event: Object | None) -> web.Response:
    """As if the API server had stored it."""
    metadata = {**((event or {}).get("metadata") or {}), "resourceVersion": "1"}
    return web.json_response({**(event or {}), "metadata": metadata}, status=200)
