"""From pods that wait to claims.

A pod that kube-scheduler can't place opens a batch (`batching`); when the batch closes, a snapshot is taken and
planned, and the plan's purchases are written as claims. What was promised to a pod (a node, or a claim in flight) is
remembered and goes into the next snapshot, so that planning again does not buy again. While pods wait, the plan is made
anew every few seconds, and at once when a claim goes away or a pool changes.

Each pod is told what becomes of it by an event: Nominated, or FailedScheduling with a reason for each pool. What it was
told already is not repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from autonodes.api.nodeclaim import NodeClaim
from autonodes.controllers.batching import Batcher
from autonodes.controllers.claims import deleted_at
from autonodes.controllers.decisionlog import DecisionLog
from autonodes.controllers.expectations import Expectations
from autonodes.controllers.purchasing import Purchasing
from autonodes.controllers.rollback import GangRollback
from autonodes.controllers.roomkeeping import RoomKeeping
from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.snapshots import Snapshots, View
from autonodes.core.clock import Clock
from autonodes.core.displacement import is_displaced
from autonodes.core.errors import AutonodesError
from autonodes.core.model import Plan, Pod, PodUID, Snapshot
from autonodes.core.shapes import is_planned
from autonodes.kube.cache import Change
from autonodes.kube.cluster import ClusterState
from autonodes.kube.events import EventRecorder, ObjectReference

log = logging.getLogger(__name__)

_IN_LOOP: Final = 200
"""Pods that are planned in the event loop; a plan for more, or one that is given time, runs beside it, so that the
Lease and the watches go on."""

_RETRY: Final = 2.0
"""Seconds until the next try when nothing may be bought now."""


@dataclass(frozen=True, slots=True)
class Nomination:
    """:param target: name of the node or claim
    :param at: seconds since the epoch
    """

    target: str
    at: float


class Provisioner:
    """:param plan: the planner"""

    def __init__(
        self,
        state: ClusterState,
        snapshots: Snapshots,
        purchasing: Purchasing,
        buffers: RoomKeeping,
        expectations: Expectations,
        events: EventRecorder,
        rollback: GangRollback,
        decisions: DecisionLog,
        *,
        plan: Callable[[Snapshot], Plan],
        clock: Clock,
        settings: ControllerSettings,
    ) -> None:
        self._state, self._snapshots, self._purchasing = state, snapshots, purchasing
        self._buffers = buffers
        self._expectations, self._events, self._plan = expectations, events, plan
        self._rollback, self._decisions = rollback, decisions
        self._clock, self._settings = clock, settings
        self._batcher = Batcher(idle=settings.batch_idle, longest=settings.batch_max, clock=clock)
        self._nominations: dict[PodUID, Nomination] = {}
        self._told: dict[PodUID, str] = {}
        self.promised = asyncio.Event()
        """Set with each plan; who follows `nominations` clears it."""

    def subscribe(self) -> None:
        """Follow the caches."""
        self._state.pods.subscribe(self._pod_changed)
        self._state.nodeclaims.subscribe(self._claim_changed)
        self._state.nodepools.subscribe(self._pool_changed)
        for caches in self._state.as_needed:
            caches.subscribe(self._batcher.trigger)
        self._buffers.subscribe(self._batcher.trigger)

    def trigger(self) -> None:
        """Plan again soon, if any pod waits or room is wanted for some."""
        if self._anything_to_plan():
            self._batcher.trigger()

    def nominations(self) -> Mapping[PodUID, str]:
        """Pod that waits → name of the node or claim that it was promised."""
        self._forget_the_settled()
        return {uid: nomination.target for uid, nomination in self._nominations.items()}

    def _pod_changed(self, change: Change[Pod]) -> None:
        if change.new is not None and is_planned(change.new) and not (change.old and is_planned(change.old)):
            self._batcher.trigger()

    def _claim_changed(self, change: Change[NodeClaim]) -> None:
        self._expectations.observe(change.key)
        if change.new is None or (deleted_at(change.new) and change.old and not deleted_at(change.old)):
            self.trigger()

    def _pool_changed(self, change: Change[Any]) -> None:
        if change.old is None or change.new is None or _planned_part(change.old) != _planned_part(change.new):
            self.trigger()

    def _waiting(self) -> list[Pod]:
        pending = [pod for pod in self._state.pending.values() if is_planned(pod)]
        return pending + self._displaced()

    def _displaced(self) -> list[Pod]:
        """Pods whose node is on its way out, and that will be made anew."""
        now = self._clock.now()
        leaving = [claim.name for claim in self._state.nodeclaims.items.values() if deleted_at(claim) is not None]
        return [pod for name in leaving for pod in self._state.pods_on(name).values() if is_displaced(pod, now)]

    def _anything_to_plan(self) -> bool:
        return bool(self._waiting() or self._buffers.pods())

    async def run(self) -> None:
        """Batch after batch, until cancelled."""
        self._remember()
        while True:
            await self._batcher.window(at_latest=self._settings.replan_after if self._anything_to_plan() else None)
            try:
                await self.provision()
            except AutonodesError as error:
                log.warning("provisioning rests: %s", error)
                await self._clock.sleep(_RETRY)
                self._batcher.trigger()
            except Exception:
                log.exception("provisioning: a defect")
                await self._clock.sleep(self._settings.replan_after)
                self._batcher.trigger()

    def _remember(self) -> None:
        """What an earlier process promised: the pods themselves say so (see `nominating`)."""
        claims = self._state.nodeclaims.items
        self._nominate({pod.uid: pod.nominated_node for pod in self._waiting() if pod.nominated_node in claims})

    async def provision(self) -> Plan | None:
        """Plan once, and write what is to be bought.

        :return: the plan, None if no pod waits and no room is wanted
        :raises AutonodesError: not now: something can't be counted
        """
        await self._expectations.met()
        waiting, wanted = self._waiting(), self._buffers.pods()
        if not waiting and not wanted:
            return None
        view = await self._snapshots.take(self.nominations())
        plan = await self._planned(view.snapshot, len(waiting) + len(wanted))
        bought = await self._purchasing.write(plan.purchases, view.snapshot, self._nominate)
        self._decisions.planned(view.snapshot, plan)  # strictly after the purchases, as in a replay
        targets = {**plan.placements, **bought}
        self._nominate({pod.uid: targets[pod.uid] for pod in waiting if pod.uid in targets})
        self._buffers.planned(plan, self._state.nodes.items)
        await self._rollback.run(plan)
        self._tell(waiting, plan, bought, view)
        if any(each not in bought for each in self._to_be_bought(plan)):
            self._batcher.trigger()
        return plan

    def _to_be_bought(self, plan: Plan) -> list[PodUID]:
        """Pods of purchases that could be made at once."""
        held_back = self._purchasing.held_back
        return [uid for purchase in plan.purchases if purchase.pool not in held_back for uid in purchase.pods]

    async def _planned(self, snapshot: Snapshot, pods: int) -> Plan:
        patient = any(pool.planning_deadline for pool in snapshot.pools)
        if pods > _IN_LOOP or patient:
            return await asyncio.to_thread(self._plan, snapshot)
        return self._plan(snapshot)

    def _nominate(self, targets: Mapping[PodUID, str]) -> None:
        now = self._clock.now()
        for uid, target in targets.items():
            known = self._nominations.get(uid)
            if known is None or known.target != target:
                self._nominations[uid] = Nomination(target, now)
        self.promised.set()

    def _forget_the_settled(self) -> None:
        """Promises to pods that no longer wait, and of places that are no more."""
        waiting = {pod.uid for pod in self._waiting()}
        places = {
            *self._state.nodes.items,
            *(claim.name for claim in self._state.nodeclaims.items.values() if deleted_at(claim) is None),
            *self._expectations.names,
        }
        self._nominations = {
            uid: nomination
            for uid, nomination in self._nominations.items()
            if uid in waiting and nomination.target in places
        }
        self._told = {uid: text for uid, text in self._told.items() if uid in waiting}

    def _tell(self, waiting: Iterable[Pod], plan: Plan, bought: Mapping[PodUID, str], view: View) -> None:
        held_back = {
            uid: text
            for purchase in plan.purchases
            if (text := self._purchasing.held_back.get(purchase.pool)) is not None
            for uid in purchase.pods
        }
        for pod in waiting:
            if (target := bought.get(pod.uid) or plan.placements.get(pod.uid)) is not None:
                kind = "node" if target in self._state.nodes.items else "nodeclaim"
                self._say(pod, "Normal", "Nominated", f"Pod should schedule on: {kind}/{target}")
            elif (reasons := plan.unplaced.get(pod.uid)) is not None:
                listed = [f"{reason.pool}: {reason.text}" if reason.pool else reason.text for reason in reasons]
                left_out = [f"{pool}: {why}" for pool, why in sorted(view.left_out.items())]
                self._say(pod, "Warning", "FailedScheduling", "; ".join([*listed, *left_out]))
            elif pod.uid in held_back:
                self._say(pod, "Warning", "FailedScheduling", held_back[pod.uid])

    def _say(self, pod: Pod, type_: Any, reason: str, message: str) -> None:
        if self._told.get(pod.uid) != message:
            self._told[pod.uid] = message
            log.info("pod %s: %s: %s", pod.key, reason, message)
            self._events.record(ObjectReference.of_pod(pod), type=type_, reason=reason, message=message)


def _planned_part(pool: Any) -> Any:
    return pool.spec, pool.metadata.deletion_timestamp, [(each.type, each.status) for each in pool.status.conditions]
