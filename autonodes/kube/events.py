"""Events about what the controller does, as ``kubectl describe`` shows them.

`EventRecorder.record` never waits and never fails: it counts the event and puts it into a bounded queue; `run` writes
the queue to the API server. The rules are client-go's (``tools/record/events_cache.go``):

- the same event again raises the ``count`` of the one that is there; what piles up before it is written is one write;
- more than :data:`SIMILAR` different messages of one object and reason within ten minutes become one event;
- an object may write :data:`BURST` events at once and then one in five minutes; what is above that is only counted.

An event that can't be written is dropped after a few tries: nothing that the controller does hangs on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, Literal, TypeVar

from autonodes.core.clock import Clock
from autonodes.core.model import Node, Pod
from autonodes.core.tokenbucket import TokenBucket
from autonodes.kube.backoff import Backoff
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.errors import (
    AlreadyExistsError,
    ApiError,
    ApiUnreachableError,
    NotFoundError,
    ServerError,
    TooManyRequestsError,
)
from autonodes.kube.resources import EVENTS

SIMILAR: Final = 10
SIMILAR_WINDOW: Final = 600.0
BURST: Final = 25
REFILL: Final = 300.0
"""Seconds until an object may write one event more."""
QUEUE: Final = 1000
"""Events that wait to be written; more are dropped."""
REMEMBERED: Final = 4096
"""Events, and objects, whose counts are kept; the least recently used are forgotten."""
ATTEMPTS: Final = 4
LONGEST_MESSAGE: Final = 1024
"""Characters; the limit of ``events.k8s.io/v1`` for a note."""

EventType = Literal["Normal", "Warning"]
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """What an event is about."""

    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    api_version: str = "v1"

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> ObjectReference:
        """Of an object with ``apiVersion`` and ``kind``, as `KubeClient.get` returns it."""
        metadata = body["metadata"]
        return cls(
            body["kind"],
            metadata["name"],
            metadata.get("namespace", ""),
            metadata.get("uid", ""),
            body.get("apiVersion", "v1"),
        )

    @classmethod
    def of_pod(cls, pod: Pod) -> ObjectReference:
        return cls("Pod", pod.name, pod.namespace, pod.uid)

    @classmethod
    def of_node(cls, node: Node) -> ObjectReference:
        return cls("Node", node.name, "", node.uid)


@dataclass(slots=True)
class _Event:
    """An event and how far the API server knows of it."""

    reference: ObjectReference
    type: EventType
    reason: str
    message: str
    first: float
    last: float
    count: int = 0
    name: str = ""
    is_queued: bool = False
    is_written: bool = False


@dataclass(slots=True)
class _Similar:
    since: float
    messages: set[str] = field(default_factory=set)


class _Recent(Generic[K, V]):
    """A mapping that forgets what was not used for longest."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        if key in self._entries:
            self._entries.move_to_end(key)
        else:
            self._entries[key] = make()
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
        return self._entries[key]


class EventRecorder:
    """:param component: who reports; ``kubectl describe`` shows it under From
    :param instance: which of its processes
    """

    def __init__(self, client: KubeClient, clock: Clock, *, component: str = "autonodes", instance: str = "") -> None:
        self.dropped = 0
        """Events that will never be seen: queue full, or refused by the server."""
        self._client, self._clock = client, clock
        self._component, self._instance = component, instance or component
        self._queue: asyncio.Queue[_Event] = asyncio.Queue(QUEUE)
        self._events: _Recent[Hashable, _Event] = _Recent(REMEMBERED)
        self._similar: _Recent[Hashable, _Similar] = _Recent(REMEMBERED)
        self._buckets: _Recent[ObjectReference, TokenBucket] = _Recent(REMEMBERED)

    def record(self, reference: ObjectReference, *, type: EventType = "Normal", reason: str, message: str) -> None:
        """Tell that something happened to an object. Returns at once, whatever the API server does."""
        now = self._clock.now()
        event = self._event(reference, type, reason, message[:LONGEST_MESSAGE], now)
        event.count += 1
        event.last = now
        bucket = self._buckets.get(reference, lambda: TokenBucket(BURST, now))
        if bucket.take(now, burst=BURST, per_second=1.0 / REFILL):
            self._enqueue(event)

    async def run(self) -> None:
        """Write what is recorded; until cancelled."""
        while True:
            event = await self._queue.get()
            event.is_queued = False
            try:
                await self._deliver(event)
            finally:
                self._queue.task_done()

    async def flush(self) -> None:
        """Wait until all that was recorded is written or given up; `run` must be running."""
        await self._queue.join()

    def _event(self, reference: ObjectReference, type_: EventType, reason: str, message: str, now: float) -> _Event:
        group = (reference, type_, reason)
        similar = self._similar.get(group, lambda: _Similar(now))
        if now - similar.since > SIMILAR_WINDOW:
            similar.since, similar.messages = now, set()
        if len(similar.messages) <= SIMILAR:
            similar.messages.add(message)
        if len(similar.messages) <= SIMILAR:
            return self._events.get((*group, message), lambda: _Event(reference, type_, reason, message, now, now))
        event = self._events.get(group, lambda: _Event(reference, type_, reason, message, now, now))
        event.message = f"(combined from similar events): {message}"[:LONGEST_MESSAGE]
        return event

    def _enqueue(self, event: _Event) -> None:
        if event.is_queued:
            return
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.dropped += 1
        else:
            event.is_queued = True

    async def _deliver(self, event: _Event) -> None:
        backoff = Backoff(1.0, 8.0)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._write(event)
                return
            except (ApiUnreachableError, ServerError, TooManyRequestsError) as error:
                failure: ApiError = error
                if attempt < ATTEMPTS:
                    await self._clock.sleep(backoff.next())
            except ApiError as error:
                failure = error
                break
        self.dropped += 1
        _log.warning(
            "an event is lost (%s %s: %s): %s", event.reference.kind, event.reference.name, event.reason, failure
        )

    async def _write(self, event: _Event) -> None:
        if event.is_written:
            try:
                await self._client.merge_patch(EVENTS, event.name, self._again(event), _namespace(event.reference))
                return
            except NotFoundError:  # an hour has passed, and the server dropped it
                event.is_written, event.name = False, ""
        event.name = event.name or f"{event.reference.name[:230]}.{uuid.uuid4().hex[:16]}"
        with contextlib.suppress(AlreadyExistsError):  # by an earlier try that got no answer
            await self._client.create(EVENTS, self._body(event))
        event.is_written = True

    def _again(self, event: _Event) -> Object:
        return {"count": event.count, "lastTimestamp": _timestamp(event.last), "message": event.message}

    def _body(self, event: _Event) -> Object:
        reference, namespace = event.reference, _namespace(event.reference)
        involved = {
            "apiVersion": reference.api_version,
            "kind": reference.kind,
            "name": reference.name,
            "namespace": reference.namespace,
            "uid": reference.uid,
        }
        return {
            "metadata": {"name": event.name, "namespace": namespace},
            "involvedObject": {key: value for key, value in involved.items() if value},
            "type": event.type,
            "reason": event.reason,
            "firstTimestamp": _timestamp(event.first),
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
            **self._again(event),
        }


def _namespace(reference: ObjectReference) -> str:
    """Events of cluster-scoped objects live in ``default``, as client-go writes them."""
    return reference.namespace or "default"


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
