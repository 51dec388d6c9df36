"""What the API server says to watchers, read once and told to all of them.

For each resource that anybody watches there is one real watch. A gate serves its clients' watches from it, as the API
server itself would from its cache: in order, without gaps, from the version that was asked for.

It also knows what is on its way: after each write that a gate let through, the watch of that resource must bring a
version at least as new. Until then virtual time stands (`Traffic.is_still`).

The API server stamps creations and deletions with real time. Readers live in virtual time, so each object's stamps are
replaced: it was created when it was first seen, and it is to be gone its grace period after that was first seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import msgspec

from autonodes.core.clock import Clock
from autonodes.kube.kubeconfig import Credentials

Object = dict[str, Any]

_NAMESPACED: Final = re.compile(r"^(/api/v1|/apis/[^/]+/[^/]+)/namespaces/[^/]+/([^/]+)")
_CLUSTERWIDE: Final = re.compile(r"^(/api/v1|/apis/[^/]+/[^/]+)/([^/]+)")
_WATCH: Final = "86400"


def collection(path: str) -> str:
    """The path under which all objects of a request's kind are: ``/api/v1/pods``."""
    found = _NAMESPACED.match(path) or _CLUSTERWIDE.match(path)
    return f"{found[1]}/{found[2]}" if found else path


class Traffic:
    """:param clock: the world's, without skew
    :ivar forwarding: requests that the API server has not answered yet
    :ivar newest: the newest version of anything that was seen
    """

    def __init__(self, credentials: Credentials, clock: Clock) -> None:
        self.credentials, self._clock = credentials, clock
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=credentials.tls or True, limit=0, keepalive_timeout=1e6),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        self.forwarding = 0
        self.newest = 0
        self._feeds: dict[str, Feed] = {}
        self._written: dict[str, int] = {}
        self._created: dict[str, str] = {}
        self._ends: dict[str, float] = {}

    async def close(self) -> None:
        for feed in self._feeds.values():
            await feed.close()
        await self.session.close()
        await asyncio.sleep(0.1)  # what was aborted closes its sockets in the loop's next turns

    def is_still(self) -> bool:
        return not self.forwarding and not any(
            feed.seen < self._written.get(path, 0) for path, feed in self._feeds.items()
        )

    def give_up(self) -> None:
        self._written.clear()

    def wrote(self, path: str, before: int, answer: Object | None) -> None:
        """A write took place.

        :param before: `newest` when it was sent
        :param answer: the object as written, if the API server showed it
        """
        version = before + 1
        if answer is not None and answer.get("kind") != "Status":
            version = int(answer["metadata"].get("resourceVersion") or version)
        self._written[collection(path)] = max(self._written.get(collection(path), 0), version)
        self.newest = max(self.newest, version)

    async def feed(self, path: str, version: int) -> Feed | None:
        """The watch of a collection; None if the API server does not know it."""
        found = self._feeds.get(path)
        if found is None:
            found = Feed(self, path, version)
            if not await found.open():
                return None
            self._feeds[path] = found
        return found

    def forget(self) -> None:
        """What is over: no watch starts before now any more."""
        self._created.clear()
        self._ends.clear()
        for feed in self._feeds.values():
            feed.trim()

    def translated(self, body: Object) -> Object:
        """An object, a list or a Status with virtual stamps."""
        if isinstance(items := body.get("items"), list):
            for item in items:
                self._stamp(item.get("metadata") or {})
        elif body.get("kind") != "Status":
            self._stamp(body.get("metadata") or {})
        version = (body.get("metadata") or {}).get("resourceVersion")
        self.newest = max(self.newest, int(version or 0))
        return body

    def _stamp(self, metadata: Object) -> None:
        metadata.pop("managedFields", None)
        uid = metadata.get("uid")
        if uid is None or not metadata.get("creationTimestamp"):
            return
        now = self._clock.now()
        metadata["creationTimestamp"] = self._created.setdefault(uid, _shown(now))
        if metadata.get("deletionTimestamp"):
            end = now + float(metadata.get("deletionGracePeriodSeconds") or 0)
            self._ends[uid] = min(self._ends.get(uid, end), end)
            metadata["deletionTimestamp"] = _shown(self._ends[uid])


class Feed:
    """One resource's events, from a version on."""

    def __init__(self, traffic: Traffic, path: str, version: int) -> None:
        self.seen = version
        self._traffic, self.path = traffic, path
        self._since = version
        self._versions: list[int] = []
        self._lines: list[bytes] = []
        self._listeners: set[Callable[[], None]] = set()
        self._answer: aiohttp.ClientResponse | None = None
        self._task: asyncio.Task[None] | None = None
        self._kind: Object = {}

    async def open(self) -> bool:
        """:return: whether there is such a resource"""
        if not await self._connect():
            return False
        self._task = asyncio.create_task(self._read(), name=f"feed {self.path}")
        return True

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._answer is not None:
            connection = self._answer.connection
            if connection is not None and connection.transport is not None:
                connection.transport.abort()
            self._answer.close()

    def trim(self) -> None:
        self._since, self._versions, self._lines = self.seen, [], []

    def after(self, version: int) -> Iterable[bytes] | None:
        """The events after a version; None if it is too old."""
        if version < self._since:
            return None
        return self._lines[bisect_right(self._versions, version) :]

    def bookmark(self, version: int) -> bytes:
        """As the API server sends one, of the kind of its objects if one was seen yet."""
        body = {**self._kind, "metadata": {"resourceVersion": str(version)}}
        return msgspec.json.encode({"type": "BOOKMARK", "object": body}) + b"\n"

    @contextlib.contextmanager
    def heard_by(self, listener: Callable[[], None]) -> Iterator[None]:
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    async def _connect(self) -> bool:
        traffic = self._traffic
        params = {
            "watch": "1", "allowWatchBookmarks": "false", "resourceVersion": str(self.seen), "timeoutSeconds": _WATCH
        }  # fmt: skip
        traffic.forwarding += 1
        try:
            self._answer = await traffic.session.get(traffic.credentials.server + self.path, params=params)
        finally:
            traffic.forwarding -= 1
        return self._answer.status == 200

    async def _read(self) -> None:
        while True:
            rest = b""
            if self._answer is not None:
                with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                    async for chunk in self._answer.content.iter_any():
                        *lines, rest = (rest + chunk).split(b"\n")
                        for line in lines:
                            self._tell(line)
            await self._connect()

    def _tell(self, line: bytes) -> None:
        event = msgspec.json.decode(line)
        body = event["object"]
        if event["type"] == "ERROR":
            raise RuntimeError(f"the watch of {self.path} broke: {body}")
        self._kind = {"apiVersion": body["apiVersion"], "kind": body["kind"]}
        version = int(body["metadata"]["resourceVersion"])
        event["object"] = self._traffic.translated(body)
        self._versions.append(version)
        self._lines.append(msgspec.json.encode(event) + b"\n")
        self.seen = version
        for listener in tuple(self._listeners):
            listener()


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
