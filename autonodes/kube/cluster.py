"""The caches of one cluster, in a bundle, with the indexes that every pass needs.

The freeze rule lives here: `ClusterState.fresh` is False from the moment that any of the caches can't hear the API
server until all of them hear it again. While it is False nothing may be bought and nothing deleted, for what
can't be seen can't be counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodeoverlay import NodeOverlay
from autonodes.api.nodepool import NodePool
from autonodes.api.validation import explain
from autonodes.core.clock import Clock
from autonodes.core.errors import InvalidDocumentError
from autonodes.core.model import DaemonSet, Node, Pod
from autonodes.core.podbudgets import DisruptionBudget
from autonodes.kube.cache import SILENCE, Cache, Change
from autonodes.kube.client import KubeClient
from autonodes.kube.decoding import decode_budget, decode_daemonset, decode_namespace, decode_node, decode_pod
from autonodes.kube.devices import DeviceCaches
from autonodes.kube.needed import NeededCaches
from autonodes.kube.podgroups import PodGroupCaches
from autonodes.kube.resources import (
    DAEMONSETS,
    NAMESPACES,
    NODECLAIMS,
    NODEOVERLAYS,
    NODEPOOLS,
    NODES,
    PDBS,
    PODS,
    Resource,
)
from autonodes.kube.storage import StorageCaches
from autonodes.kube.workloads import WorkloadCaches

STALE: Final = SILENCE + 15.0
"""Seconds without a sign of life after which a cache no longer counts: by then its watchdog has tried again in vain."""

_NOTHING: Final[Mapping[str, Pod]] = MappingProxyType({})


class ClusterState:
    """:param node_class: of the provider in use; its objects are in `nodeclasses` as plain dicts
    :param selectors: keep in `workloads` whom Services and workloads select
    """

    def __init__(
        self, client: KubeClient, clock: Clock, *, node_class: Resource | None = None, selectors: bool = False
    ) -> None:
        self.pods: Cache[Pod] = Cache(client, PODS, decode_pod, clock)
        self.nodes: Cache[Node] = Cache(client, NODES, decode_node, clock)
        self.daemonsets: Cache[DaemonSet] = Cache(client, DAEMONSETS, decode_daemonset, clock)
        self.namespaces: Cache[Mapping[str, str]] = Cache(client, NAMESPACES, decode_namespace, clock)
        self.budgets: Cache[DisruptionBudget] = Cache(client, PDBS, decode_budget, clock)
        self.nodepools: Cache[NodePool] = Cache(client, NODEPOOLS, _decode_nodepool, clock)
        self.nodeclaims: Cache[NodeClaim] = Cache(client, NODECLAIMS, _decode_nodeclaim, clock)
        self.nodeoverlays: Cache[NodeOverlay] = Cache(client, NODEOVERLAYS, _decode_nodeoverlay, clock)
        self._caches: list[Cache[Any]] = [
            self.pods,
            self.nodes,
            self.daemonsets,
            self.namespaces,
            self.budgets,
            self.nodepools,
            self.nodeclaims,
            self.nodeoverlays,
        ]
        self.nodeclasses: Cache[dict[str, Any]] | None = None
        if node_class is not None:
            self.nodeclasses = Cache(client, node_class, msgspec.json.decode, clock)
            self._caches.append(self.nodeclasses)
        self.workloads = WorkloadCaches(client, clock) if selectors else None
        self._caches.extend(self.workloads.all if self.workloads is not None else ())
        self._by_node: dict[str, dict[str, Pod]] = {}
        self._pending: dict[str, Pod] = {}
        self.pods.subscribe(self._index)  # strictly before anybody else can: subscribers read the indexes
        self.storage = StorageCaches(client, self.pods, clock)
        self.podgroups = PodGroupCaches(client, self.pods, clock)
        self.devices = DeviceCaches(client, self.pods, clock)

    @property
    def pods_by_node(self) -> Mapping[str, Mapping[str, Pod]]:
        """Node name → the pods that are bound to it, terminal ones too. A node without pods is not in it."""
        return MappingProxyType(self._by_node)

    def pods_on(self, node_name: str) -> Mapping[str, Pod]:
        """Of `pods_by_node`; empty for a node without pods."""
        return self._by_node.get(node_name, _NOTHING)

    @property
    def pending(self) -> Mapping[str, Pod]:
        """Pods that are bound to no node, not terminal and not being deleted, in the order of their arrival."""
        return MappingProxyType(self._pending)

    def disruption_budgets(self) -> tuple[DisruptionBudget, ...]:
        """All, in the order of their names. One that can't be read says why; what it said before may be out of date."""
        found = dict(self.budgets.items)
        for key, why in self.budgets.malformed.items():
            namespace, _, name = key.partition("/")
            found[key] = DisruptionBudget(namespace=namespace, name=name, selector=None, fault=why)
        return tuple(found[key] for key in sorted(found))

    async def run(self) -> None:
        """Keep all caches; until cancelled."""
        async with asyncio.TaskGroup() as group:
            for cache in self._caches:
                group.create_task(cache.run(), name=f"cache {cache.resource}")
            for caches in self.as_needed:
                group.create_task(caches.run(), name=type(caches).__name__)

    async def synced(self) -> None:
        """Wait until every cache has had its first complete list."""
        for cache in self._caches:
            await cache.synced()

    def fresh(self, now: float) -> bool:
        """Whether a decision may be taken on what is here."""
        return not self.stale(now)

    def stale(self, now: float) -> list[str]:
        """What keeps `fresh` False, one line a cache, for people."""
        needed = (cache for caches in self.as_needed for cache in caches.needed)
        return [reason for cache in (*self._caches, *needed) if (reason := _why_stale(cache, now))]

    @property
    def as_needed(self) -> tuple[NeededCaches, ...]:
        """Those that run only while a pod that waits needs them."""
        return (self.storage, self.podgroups, self.devices)

    def _index(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        if old is not None and old.node_name and (new is None or new.node_name != old.node_name):
            self._leave(old.node_name, change.key)
        if new is not None and new.node_name:
            self._by_node.setdefault(new.node_name, {})[change.key] = new
        if new is not None and not new.node_name and not new.terminal and new.deleted_at is None:
            self._pending[change.key] = new
        else:
            self._pending.pop(change.key, None)

    def _leave(self, node_name: str, key: str) -> None:
        pods = self._by_node[node_name]
        pods.pop(key, None)
        if not pods:
            del self._by_node[node_name]


def _why_stale(cache: Cache[Any], now: float) -> str:
    if not cache.is_synced:
        return f"{cache.resource}: not listed yet" + (f" ({cache.failure})" if cache.failure else "")
    if cache.failure is not None:
        return str(cache.failure)
    if (age := cache.age(now)) > STALE:
        return f"{cache.resource}: nothing heard from the API server for {age:.0f} s"
    return ""


def _decode_nodepool(raw: bytes) -> NodePool:
    body = msgspec.json.decode(raw)
    try:
        return NodePool.from_api(body)
    except ValidationError as error:
        raise InvalidDocumentError(f"NodePool {body['metadata']['name']}", explain(error, NodePool)) from error


def _decode_nodeoverlay(raw: bytes) -> NodeOverlay:
    return NodeOverlay.from_api(msgspec.json.decode(raw))


def _decode_nodeclaim(raw: bytes) -> NodeClaim:
    return NodeClaim.from_api(msgspec.json.decode(raw))
