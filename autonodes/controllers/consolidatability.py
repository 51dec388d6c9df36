"""The ``Consolidatable`` condition of claims: True when pods have left the node alone for ``consolidateAfter``.

It says when consolidation may begin to think of a node, not that it will. As in Karpenter it is counted from
``status.lastPodEventTime``, and from the node's initialization if no pod has come since. A claim of which it was never
true has no such condition; one of which it no longer is says why. Decisions don't read it: they look at the same times
themselves, so a condition that is late does no harm.
"""

from __future__ import annotations

from autonodes.api.conditions import find_condition
from autonodes.api.nodeclaim import CONSOLIDATABLE, NodeClaim
from autonodes.api.nodepool import NodePool
from autonodes.api.objects import seconds
from autonodes.controllers.claims import Claims, Mark, deleted_at
from autonodes.controllers.podevents import PodEvents, touched
from autonodes.controllers.providers import GROUP
from autonodes.controllers.workqueue import WorkQueue
from autonodes.core.clock import Clock
from autonodes.core.emptiness import CONSOLIDATION_DISABLED, NO_NODE_POOL, TOO_SOON, quiet_from
from autonodes.core.lifecycle import Phase
from autonodes.core.model import Pod
from autonodes.kube.cache import Change
from autonodes.kube.cluster import ClusterState


class Consolidatability:
    def __init__(self, state: ClusterState, claims: Claims, pod_events: PodEvents, clock: Clock) -> None:
        self._state, self._claims, self._pod_events, self._clock = state, claims, pod_events, clock
        self._queue = WorkQueue("quiet time of", self._look, clock)

    def subscribe(self) -> None:
        """Follow the claims, pools and pods, strictly after `PodEvents` does: it knows the times."""
        self._state.pods.subscribe(self._pod_changed)
        self._state.nodeclaims.subscribe(self._claim_changed)
        self._state.nodepools.subscribe(self._pool_changed)

    async def run(self) -> None:
        """Until cancelled."""
        for name in self._state.nodeclaims.items:
            self._queue.add(name)
        await self._queue.run()

    def _claim_changed(self, change: Change[NodeClaim]) -> None:
        if change.new is None:
            self._queue.forget(change.key)
        elif change.old is None or _seen(change.old) != _seen(change.new):
            self._queue.add(change.key)

    def _pod_changed(self, change: Change[Pod]) -> None:
        if (name := touched(change)) in self._state.nodeclaims.items:
            self._queue.add(name)

    def _pool_changed(self, change: Change[NodePool]) -> None:
        if change.old is None or change.new is None or change.old.spec.disruption == change.new.spec.disruption:
            return
        for claim in self._state.nodeclaims.items.values():
            if claim.pool == change.key:
                self._queue.add(claim.name)

    async def _look(self, name: str) -> None:
        """:raises ApiError: the API server can't be asked, or the claim changed meanwhile"""
        claim = self._state.nodeclaims.get(name)
        if claim is None:
            self._queue.forget(name)
            return
        if claim.phase is not Phase.READY or claim.spec.node_class_ref.group != GROUP:
            return
        mark, wait = self._judged(claim)
        if wait is not None:
            self._queue.add(name, after=wait)
        if not _differs(claim, mark):
            return
        fresh = await self._claims.get(name, claim.metadata.uid)
        if fresh is not None and deleted_at(fresh) is None and fresh.phase is Phase.READY:
            await self._claims.mark(fresh, mark)

    def _judged(self, claim: NodeClaim) -> tuple[Mark, float | None]:
        """What is to be shown, and the seconds until time alone makes it another."""
        pool = self._state.nodepools.get(claim.pool)
        if pool is None or pool.spec.replicas is not None:
            return Mark(CONSOLIDATABLE, "False", NO_NODE_POOL, "no dynamic NodePool stands behind it"), None
        wanted = pool.spec.disruption.consolidate_after
        after = seconds(wanted, path="spec.disruption.consolidateAfter")
        due = quiet_from(after, self._pod_events.last(claim))
        if due is None:
            return Mark(CONSOLIDATABLE, "False", CONSOLIDATION_DISABLED, "consolidateAfter is Never"), None
        if (left := due - self._clock.now()) > 0:
            message = f"a pod came or left, and consolidateAfter is {wanted}"
            return Mark(CONSOLIDATABLE, "False", TOO_SOON, message), left
        return Mark(CONSOLIDATABLE), None


def _differs(claim: NodeClaim, mark: Mark) -> bool:
    shown = find_condition(claim.status.conditions, CONSOLIDATABLE)
    if shown is None:
        return mark.status == "True"
    return shown.status != mark.status or (mark.status == "False" and shown.reason != mark.reason)


def _seen(claim: NodeClaim) -> tuple[object, ...]:
    """What it depends on, and whether it is as it was left."""
    shown = find_condition(claim.status.conditions, CONSOLIDATABLE)
    return claim.phase, claim.status.last_pod_event_time, shown
