"""Static pools: exactly as many claims as ``replicas`` says.

What is missing is written as claims, what is too many is deleted, which drains it. Both are counted on the cache, after
all that this process has written shows there (`expectations`); another process starts from a complete list. So a
death between two claims leaves some missing, which the successor writes, and never one too many. A node that is being
replaced because it drifted (`disruption`) does not count beside its replacement, which says so itself.

A pool that is not ready buys nothing. Where machines can't be had, claims come and go; :data:`APART` seconds pass
before the next ones are written.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

from autonodes.api.conditions import READY, is_true
from autonodes.api.nodeclaim import LAUNCHED, NodeClaim
from autonodes.api.nodepool import NodePool
from autonodes.controllers.claims import Claims, deleted_at
from autonodes.controllers.expectations import Expectations
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.providers import GROUP, Providers
from autonodes.controllers.purchasing import Purchasing
from autonodes.controllers.replacements import underway
from autonodes.controllers.snapshots import Snapshots
from autonodes.controllers.workqueue import WorkQueue
from autonodes.core import model
from autonodes.core.clock import Clock
from autonodes.core.staticpools import missing, purchase, surplus
from autonodes.kube.cache import Change
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import ApiError

log = logging.getLogger(__name__)

APART: Final = 10.0
"""Seconds after a claim that got no machine, in which no other is written for the pool."""

_DELAY: Final = 0.2
"""Seconds in which changes of a pool's claims are collected."""


class StaticPools:
    def __init__(
        self,
        state: ClusterState,
        snapshots: Snapshots,
        purchasing: Purchasing,
        expectations: Expectations,
        claims: Claims,
        providers: Providers,
        freeze: Freeze,
        clock: Clock,
    ) -> None:
        self._state, self._snapshots, self._purchasing = state, snapshots, purchasing
        self._expectations, self._claims, self._providers = expectations, claims, providers
        self._freeze, self._clock = freeze, clock
        self._queue = WorkQueue("static NodePool", self._look, clock, resync=60.0)
        self._failed: dict[str, float] = {}
        self._deleted: dict[str, str] = {}

    def subscribe(self) -> None:
        """Follow the pools and claims."""
        self._state.nodepools.subscribe(self._pool_changed)
        self._state.nodeclaims.subscribe(self._claim_changed)

    async def run(self) -> None:
        """Until cancelled."""
        for name, pool in self._state.nodepools.items.items():
            if pool.spec.replicas is not None:
                self._queue.add(name)
        await self._queue.run()

    def _pool_changed(self, change: Change[NodePool]) -> None:
        if change.new is not None and change.new.spec.replicas is not None:
            self._queue.add(change.key)

    def _claim_changed(self, change: Change[NodeClaim]) -> None:
        claim = change.new or change.old
        pool = self._state.nodepools.get(claim.pool) if claim is not None else None
        if pool is not None and pool.spec.replicas is not None:
            if change.new is None and change.old is not None and not change.old.condition(LAUNCHED):
                self._failed[pool.name] = self._clock.now()
            self._queue.add(pool.name, after=_DELAY)

    async def _look(self, name: str) -> None:
        """:raises AutonodesError: not now: something can't be counted"""
        await self._expectations.met()
        self._freeze.check()
        pool = self._state.nodepools.get(name)
        if pool is None or pool.spec.replicas is None or pool.metadata.deletion_timestamp is not None:
            self._queue.forget(name)
            self._failed.pop(name, None)
            return
        if pool.spec.template.spec.node_class_ref.group != GROUP or self._is_behind():
            return
        if name in self._state.nodepools.malformed:
            return
        claims = [claim for claim in self._snapshots.claims() if claim.pool == name]
        replaced = frozenset(name for each in underway(self._state.nodeclaims.items.values()) for name in each.goes)
        await self._give_back(claims, pool.spec.replicas, replaced)
        if is_true(pool.status.conditions, READY):
            await self._buy(pool, missing(pool.to_model(), claims, pool.spec.replicas, replaced))

    def _is_behind(self) -> bool:
        """Whether the cache does not show yet what was deleted; what it shows then brings the next look."""
        self._deleted = {uid: name for uid, name in self._deleted.items() if self._is_kept(name, uid)}
        return bool(self._deleted)

    def _is_kept(self, name: str, uid: str) -> bool:
        claim = self._state.nodeclaims.get(name)
        return claim is not None and claim.metadata.uid == uid and deleted_at(claim) is None

    async def _buy(self, pool: NodePool, count: int) -> None:
        wait = self._failed.get(pool.name, -APART) + APART - self._clock.now()
        if count <= 0:
            return
        if wait > 0:
            self._queue.add(pool.name, after=wait)
            return
        source = self._providers.source(pool.spec.template.spec.node_class_ref.to_model())
        instance_types = await source.instance_types()
        wanted = purchase(pool.to_model(), self._state.daemonsets.items.values())
        log.info("NodePool %s: %d of %d nodes are missing", pool.name, count, pool.spec.replicas)
        for _ in range(count):
            self._freeze.check()
            await self._purchasing.write_one(wanted, pool, instance_types)

    async def _give_back(self, claims: list[model.Claim], replicas: int, replaced: Collection[str]) -> None:
        nodes = {claim.node_name or claim.name for claim in claims}
        pods_on = {node: tuple(self._state.pods_on(node).values()) for node in nodes}
        for claim in surplus(claims, replicas, pods_on, self._clock.now(), replaced):
            fresh = await self._claims.get(claim.name, claim.uid)
            if fresh is None or deleted_at(fresh) is not None:
                continue
            log.info("NodeClaim %s is given back: its NodePool has more than %d", claim.name, replicas)
            self._claims.report(fresh, "DisruptionTerminating", "Disrupting NodeClaim: Overprovisioned")
            self._claims.decisions.ending(fresh.name, "Overprovisioned", f"its NodePool has more than {replicas}")
            await self._delete(fresh)

    async def _delete(self, claim: NodeClaim) -> None:
        self._deleted[claim.metadata.uid] = claim.name
        try:
            await self._claims.delete(claim)
        except ApiError:
            del self._deleted[claim.metadata.uid]
            raise
