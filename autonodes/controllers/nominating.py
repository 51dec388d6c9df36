"""Telling kube-scheduler what was planned: ``status.nominatedNodeName`` (KEP-5278).

kube-scheduler tries the node that a pod is nominated to first, before it scores any other, and counts the pod as being
there when it looks for a place for others of no higher priority. So a tight plan comes about as it was made; without
that, pods go where they score best, and some are left over.

What a nomination is good for depends on when it comes. An attempt to schedule that fails clears it, so one that comes
long before its node is lost; as soon as a node is open all pods that wait are tried, so one that comes after is too
late; and a pod whose own node is still closed takes another that has room to spare. So the nodes that were promised
open together: each keeps the taint of an unregistered node until the others are ready too, as long as others come
(`PATIENCE`), `LONGEST` at most. Right before, their pods are nominated until the watch shows it of all of them at once:
each node that comes makes kube-scheduler try all pods again, in vain, and on a busy machine that goes on for seconds.
All else that makes a node the claim's is written by then (`registration`), so that each opens with a single write and
they all do within moments, on a busy machine as well. Others write to a node that has just come (the taint of one that
is not ready goes), so where the guard stands among its taints is looked up again if the write is refused. A pod is
nominated again when an attempt has cleared it. The API server clears it when the pod is bound; here it is cleared when
the promise is dropped. What kube-scheduler nominated itself, because it makes room there, is left alone.

Limits: kube-scheduler honours it from 1.35 on; for an older one nothing is written, and no node waits for another.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from autonodes.api.nodeclaim import REGISTERED
from autonodes.controllers.waiting import wait_for_event
from autonodes.core.clock import Clock
from autonodes.core.labels import REGISTERED as REGISTERED_LABEL
from autonodes.core.labels import UNREGISTERED_TAINT
from autonodes.core.model import Node, Pod, PodUID
from autonodes.kube.backoff import Backoff
from autonodes.kube.cache import Change
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import ApiError, ConflictError, InvalidError, NotFoundError
from autonodes.kube.resources import NODES, PODS

log = logging.getLogger(__name__)

SINCE: Final = (1, 35)
"""The first version in which kube-scheduler takes nominations from others by default."""

PATIENCE: Final = 3.0
"""Seconds that nodes which are there wait for the next one of their plan: more than most boots differ."""

LONGEST: Final = 10.0
"""Seconds that a node waits for others at most: little beside any boot."""

_SHOWN: Final = 10.0
"""Seconds until all nominations show in the watch, at most: one that was refused never does."""

_AT_ONCE: Final = 16
"""Writes in flight: what one event loop keeps busy."""

_TRIES: Final = 5
"""Writes that open a node; each is refused only because somebody else has written to it since it was read."""

_APART: Final = 0.05
"""Seconds between two looks at all pods that wait: they come in bursts, and so do their failures."""


class Nominating:
    """:param promises: pod that waits → name of the node or claim that it was promised
    :param promised: set by who promises, whenever that may have changed
    :param wake: looks at a claim again, because its node may open now
    """

    def __init__(
        self,
        client: KubeClient,
        state: ClusterState,
        promises: Callable[[], Mapping[PodUID, str]],
        promised: asyncio.Event,
        wake: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._client, self._state, self._clock = client, state, clock
        self._promises, self._promised, self._wake = promises, promised, wake
        self._given: dict[PodUID, str] = {}
        self._by_target: Mapping[str, list[Pod]] = {}
        self._arrived: dict[str, float] = {}
        self._last_news = 0.0
        self._ready: set[str] = set()
        self._opened: set[str] = set()
        self._supported: bool | None = None
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._pods_changed = asyncio.Event()
        self._cleared: set[PodUID] = set()

    def subscribe(self) -> None:
        """Follow the pods."""
        self._state.pods.subscribe(self._pod_changed)

    def _pod_changed(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        self._pods_changed.set()
        if old is not None and new is not None and old.nominated_node and not (new.nominated_node or new.node_name):
            self._cleared.add(new.uid)
            self._promised.set()  # an attempt has failed

    def may_open(self, node: Node) -> bool:
        """Whether a new node may take pods now; if not, its claim is woken when it may."""
        if self._supported is False or node.name in self._opened:
            return True
        ready = node.ready and REGISTERED_LABEL in node.labels
        if node.name not in self._arrived or (ready and node.name not in self._ready):
            self._last_news = self._clock.now()
        self._arrived.setdefault(node.name, self._clock.now())
        if ready:
            self._ready.add(node.name)
        self._promised.set()
        return False

    async def run(self) -> None:
        """Follow the promises and open nodes; until cancelled."""
        await self._is_supported()
        while True:
            await wait_for_event(self._promised, self._pause(), self._clock)
            promises = self._index()
            await self._open()
            await self._nominate(promises)
            await self._clock.sleep(_APART)

    def _pause(self) -> float | None:
        """Seconds until the first node has waited long enough."""
        if not self._arrived:
            return None
        due = min(self._last_news + PATIENCE, min(self._arrived.values()) + LONGEST)
        return max(0.0, due - self._clock.now())

    async def _open(self) -> None:
        if not (names := self._due()):
            return
        if self._supported:
            await self._until_shown({pod.uid: name for name in names for pod in self._by_target.get(name, ())})
            await asyncio.gather(*map(self._take_guard_off, names))
        self._opened.update(names)
        for name in names:
            self._arrived.pop(name, None)
            self._wake(name)

    async def _until_shown(self, promises: Mapping[PodUID, str]) -> None:
        """Nominate these pods until the cache shows it of all that still wait. Where nodes have just come, attempts
        still go on that fail, and each clears one."""
        end, written = self._clock.now() + _SHOWN, set[PodUID]()
        while self._clock.now() < end:
            self._pods_changed.clear()
            pending = self._state.pending.values()
            lacking = [pod for pod in pending if pod.nominated_node != promises.get(pod.uid, pod.nominated_node)]
            if not lacking:
                return
            again, self._cleared = self._cleared, set()
            await self._tell((pod, promises[pod.uid]) for pod in lacking if pod.uid not in written - again)
            written.update(pod.uid for pod in lacking)
            await wait_for_event(self._pods_changed, end - self._clock.now(), self._clock)
            await self._clock.sleep(_APART)

    async def _take_guard_off(self, name: str) -> None:
        """Open the node, if all else is written already; if not, or if that fails, its registration does it."""
        node = self._state.nodes.items.get(name)
        labels, taints = (node.labels, [taint.key for taint in node.taints]) if node else ({}, [])
        try:
            for _ in range(_TRIES):
                if REGISTERED_LABEL not in labels or UNREGISTERED_TAINT not in taints:
                    return
                if await self._opened_by(name, taints.index(UNREGISTERED_TAINT)):
                    return
                body = await self._client.get(NODES, name)
                labels = body["metadata"].get("labels") or {}
                taints = [taint["key"] for taint in body["spec"].get("taints") or ()]
        except ApiError as error:
            log.info("node %s opens with its registration: %s", name, error)

    async def _opened_by(self, name: str, place: int) -> bool:
        """Whether the guard stood at this place among the taints, and is gone now."""
        patch = [
            {"op": "test", "path": f"/metadata/labels/{REGISTERED_LABEL.replace('/', '~1')}", "value": "true"},
            {"op": "test", "path": f"/spec/taints/{place}/key", "value": UNREGISTERED_TAINT},
            {"op": "remove", "path": f"/spec/taints/{place}"},
        ]
        try:
            await self._client.json_patch(NODES, name, patch)
        except InvalidError:
            return False
        return True

    def _due(self) -> list[str]:
        """All that have arrived, if they wait for no other or have waited long enough; else those that need not."""
        claims, nodes = self._state.nodeclaims.items, self._state.nodes.items
        self._arrived = {name: at for name, at in self._arrived.items() if name in claims}
        self._opened &= claims.keys()
        self._ready &= claims.keys()
        still_closed = {name for name, claim in claims.items() if not claim.condition(REGISTERED)}
        to_be_written = self._by_target.keys() - claims.keys() - nodes.keys()
        promised = (self._by_target.keys() & (still_closed - self._opened)) | to_be_written
        if len(promised) == 1 or promised <= self._ready or self._pause() == 0.0:
            return list(self._arrived)
        return [name for name in self._arrived if name not in promised]

    async def _is_supported(self) -> bool:
        backoff = Backoff(1.0, 30.0)
        while self._supported is None:
            try:
                self._supported = version_of(await self._client.version()) >= SINCE
            except ApiError as error:
                log.warning("nominations wait: %s", error)
                await self._clock.sleep(backoff.next())
        return self._supported

    async def _nominate(self, promises: Mapping[PodUID, str]) -> None:
        """Make the pods that wait show what they were promised, where the node is there."""
        if not self._supported:
            return
        nodes = self._state.nodes.items
        wanted = ((pod, promises.get(pod.uid, "")) for pod in tuple(self._state.pending.values()))
        shown = ((pod, target if target in nodes else "") for pod, target in wanted)
        await self._tell((pod, target) for pod, target in shown if target != pod.nominated_node and self._is_ours(pod))

    def _index(self) -> Mapping[PodUID, str]:
        """The promises, as they are now."""
        self._promised.clear()
        promises, by_target = self._promises(), defaultdict(list)
        for pod in self._state.pending.values():
            if target := promises.get(pod.uid):
                by_target[target].append(pod)
        self._by_target = by_target
        waiting = {pod.uid for pod in self._state.pending.values()}
        self._given = {uid: target for uid, target in self._given.items() if uid in waiting}
        self._cleared &= waiting
        return promises

    def _is_ours(self, pod: Pod) -> bool:
        """Nobody else's nomination is there; that of an earlier process is known by the claim that it names."""
        name = pod.nominated_node
        return not name or name == self._given.get(pod.uid) or name not in self._state.nodes.items

    async def _tell(self, pods: Iterable[tuple[Pod, str]]) -> None:
        await asyncio.gather(*(self._write(pod, target) for pod, target in pods))

    async def _write(self, pod: Pod, target: str) -> None:
        patch = {"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": target or None}}
        try:
            async with self._gate:
                await self._client.merge_patch(PODS, pod.name, patch, pod.namespace, subresource="status")
        except (NotFoundError, ConflictError, InvalidError):
            return  # it is gone, or bound meanwhile
        except ApiError as error:
            log.warning("pod %s could not be nominated to %s: %s", pod.key, target or "nothing", error)
            return
        self._given[pod.uid] = target


def version_of(answer: Mapping[str, str]) -> tuple[int, int]:
    """Major and minor version in the API server's ``/version``; some clouds write the minor as ``35+``."""
    major, minor = (re.match(r"\d*", answer.get(name, "")) for name in ("major", "minor"))
    return (int(major[0] or 0), int(minor[0] or 0)) if major and minor else (0, 0)
