"""A list+watch cache of one resource, for ever as new as the API server lets it be.

Mechanism: a paged list of one moment, then a watch from its resourceVersion. A stream that ends is opened again where
it stopped; where the server no longer knows that version (410), everything is listed again and the differences are
told as changes. Reconnects wait with jitter, longer each time, until something arrives again.

A watch can die silently: the connection stands and nothing comes. The API server sends a bookmark about once a minute,
so silence for longer than :data:`SILENCE` means death; the stream is dropped and everything is *listed*, for a watch
from a version that the server never reaches (its database was set back) is just as silent.

Objects are decoded one by one. One that does not decode is skipped, its last good version stays, `malformed` names it
and a warning is logged; the others are not affected. An event that leaves the decoded value equal is no change: nobody
is called for a heartbeat.

Limits: callbacks are called in the event loop, in the order of subscription, and must neither wait nor raise (what
they raise is logged). Between list and watch there is no gap; between two caches there is no common moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, TypeVar

import msgspec

from autonodes.core.clock import Clock
from autonodes.kube.backoff import Backoff
from autonodes.kube.client import PAGE, KubeClient, WatchEvent
from autonodes.kube.errors import ApiError, ApiUnreachableError, GoneError
from autonodes.kube.resources import Resource

T = TypeVar("T")

SILENCE: Final = 75.0
"""Seconds without event or bookmark after which a watch counts as dead. Bookmarks come every 60 s, give or take one."""
FIRST_RETRY: Final = 0.2
LAST_RETRY: Final = 10.0
"""Seconds between two attempts at most: an API server is restarted in about three."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """``old`` is None for a new object, ``new`` for a deleted one.

    :param key: ``namespace/name``, or ``name`` without a namespace
    """

    key: str
    old: T | None
    new: T | None


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    namespace: str = ""
    resource_version: str = ""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class _Head(msgspec.Struct):
    metadata: _Metadata


class _BookmarkMetadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Bookmark(msgspec.Struct):
    metadata: _BookmarkMetadata


class Cache(Generic[T]):
    """``items`` is what the server has, decoded; `run` keeps it so.

    :param decode: an object's JSON to the value that is kept; may raise for an object that it can't read
    :param silence: see :data:`SILENCE`
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        decode: Callable[[bytes], T],
        clock: Clock,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        silence: float = SILENCE,
    ) -> None:
        self.resource = resource
        self.malformed: dict[str, str] = {}
        """Key → what is wrong, of the objects that could not be decoded."""
        self.failure: ApiError | None = None
        """Why the server can't be heard at this moment; None while a stream stands."""
        self._client, self._decode, self._clock = client, decode, clock
        self._namespace, self._silence = namespace, silence
        self._label_selector, self._field_selector = label_selector, field_selector
        self._items: dict[str, T] = {}
        self._callbacks: list[Callable[[Change[T]], None]] = []
        self._told_of_malformed: list[Callable[[str], None]] = []
        self._resource_version = ""
        self._heard = self._watch_started = float("-inf")
        self._synced = asyncio.Event()
        self._backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        self._page = PAGE

    @property
    def items(self) -> Mapping[str, T]:
        """A live, read-only view, by key."""
        return MappingProxyType(self._items)

    def get(self, key: str) -> T | None:
        """By ``namespace/name`` or ``name``."""
        return self._items.get(key)

    def subscribe(self, callback: Callable[[Change[T]], None]) -> None:
        """Call ``callback`` with each later change; ``items`` holds the new state already."""
        self._callbacks.append(callback)

    def subscribe_malformed(self, callback: Callable[[str], None]) -> None:
        """Call ``callback`` with the key of each object that can't be read, whenever it was looked at again."""
        self._told_of_malformed.append(callback)

    async def synced(self) -> None:
        """Wait for the first complete list."""
        await self._synced.wait()

    @property
    def is_synced(self) -> bool:
        return self._synced.is_set()

    def age(self, now: float) -> float:
        """Seconds since the server was last heard from: a list, an event, a bookmark. Infinite before the first."""
        return max(0.0, now - self._heard)

    async def run(self) -> None:
        """List, watch, and again; until cancelled. What goes wrong is in `failure` and in the log."""
        while True:
            try:
                if not self._resource_version:
                    await self._list()
                await self._follow()
            except GoneError as error:
                self._start_over(str(error))
            except ApiError as error:
                self._failed(error)
            await self._clock.sleep(self._backoff.next())

    def _start_over(self, reason: str) -> None:
        _log.info("%s: listing again: %s", self.resource, reason)
        self._resource_version = ""

    def _failed(self, error: ApiError) -> None:
        if self.failure is None:
            _log.warning("%s: %s", self.resource, error)
        self.failure = error

    def _mark_heard(self) -> None:
        self._heard = self._clock.now()
        if self.failure is not None:
            _log.info("%s: heard from the API server again", self.resource)
        self.failure = None

    async def _list(self) -> None:
        found: dict[str, T] = {}
        seen: set[str] = set()
        try:
            pages = self._client.pages(
                self.resource,
                self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                limit=self._page,
            )
            async with contextlib.aclosing(pages):
                async for page in pages:
                    self._mark_heard()
                    for raw in page.items or ():
                        seen.add(self._collect(raw, found))
        except GoneError:
            self._page = 0  # it expired between two pages: all in one next time
            raise
        self._page = PAGE
        self._replace(found, seen)
        self._resource_version = page.resource_version
        self._synced.set()

    def _collect(self, raw: msgspec.Raw, found: dict[str, T]) -> str:
        key = _key(raw)
        old = self._items.get(key)
        value = self._decoded(key, raw)
        if value is not None:
            found[key] = old if old is not None and old == value else value
        elif old is not None:
            found[key] = old
        return key

    def _replace(self, found: dict[str, T], seen: set[str]) -> None:
        for key in [key for key in self._items if key not in found]:
            self._put(key, None)
        for key in [key for key in self.malformed if key not in seen]:
            del self.malformed[key]
        for key, value in found.items():
            self._put(key, value)

    async def _follow(self) -> None:
        """Watch until the stream ends, breaks or falls silent."""
        self._watch_started = self._clock.now()
        reading = asyncio.create_task(self._read())
        listening = asyncio.create_task(self._until_silent())
        try:
            await asyncio.wait({reading, listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            listening.cancel()
            await asyncio.gather(reading, listening, return_exceptions=True)
        if reading.cancelled():
            self._resource_version = ""
            raise ApiUnreachableError(f"silent for {self._silence:.0f} s", request=f"WATCH {self.resource}")
        reading.result()

    async def _until_silent(self) -> None:
        while True:
            now = self._clock.now()
            quiet = now - max(self._heard, self._watch_started)
            if quiet >= self._silence:
                return
            await self._clock.sleep(self._silence - max(0.0, quiet))

    async def _read(self) -> None:
        events = self._client.watch(
            self.resource,
            self._namespace,
            resource_version=self._resource_version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        async with contextlib.aclosing(events):
            async for event in events:
                self._mark_heard()
                if event is not None:
                    self._backoff.reset()
                    self._apply(event)

    def _apply(self, event: WatchEvent) -> None:
        if event.type == "BOOKMARK":
            self._resource_version = _bookmark(event.object)
            return
        metadata = _metadata(event.object)
        if event.type == "DELETED":
            self.malformed.pop(metadata.key, None)
            self._put(metadata.key, None)
        else:
            value = self._decoded(metadata.key, event.object)
            if value is not None:
                self._put(metadata.key, value)
        self._resource_version = metadata.resource_version

    def _decoded(self, key: str, raw: msgspec.Raw) -> T | None:
        try:
            value = self._decode(bytes(raw))
        except Exception as error:
            if key not in self.malformed:
                _log.warning("%s %s can't be read and is left out: %s", self.resource.kind, key, error)
            self.malformed[key] = str(error)
            for callback in self._told_of_malformed:
                callback(key)
            return None
        self.malformed.pop(key, None)
        return value

    def _put(self, key: str, new: T | None) -> None:
        old = self._items.get(key)
        if new is None:
            if old is None:
                return
            del self._items[key]
        elif old is new or old == new:
            return
        else:
            self._items[key] = new
        change = Change(key, old, new)
        for callback in self._callbacks:
            try:
                callback(change)
            except Exception:
                _log.exception("a subscriber of %s failed at %s", self.resource, key)


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_bookmark = msgspec.json.Decoder(_Bookmark).decode


def _metadata(raw: msgspec.Raw) -> _Metadata:
    try:
        return _decode_head(raw).metadata
    except msgspec.MsgspecError as error:
        raise ApiUnreachableError(f"an object without metadata: {error}") from error


def _key(raw: msgspec.Raw) -> str:
    return _metadata(raw).key


def _bookmark(raw: msgspec.Raw) -> str:
    try:
        return _decode_bookmark(raw).metadata.resource_version
    except msgspec.MsgspecError as error:
        raise ApiUnreachableError(f"a bookmark without metadata: {error}") from error
