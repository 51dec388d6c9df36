"""Giving back nodes on which nothing runs.

Which nodes are empty, for long enough and within their pool's budgets, is `autonodes.core.emptiness`' decision on a
snapshot. It is checked again before it is acted on: the node is tainted first, so that nothing new is scheduled there,
then the API server itself is asked for the node's pods, and only if none of them holds the node the claim is deleted.
Else the taint is taken off again. A taint that a killed process left behind is taken off, too.

A pass begins only when the deletions of the one before show in the cache: budgets count what is being deleted.
"""

from __future__ import annotations

import asyncio
import logging

from autonodes.api.nodeclaim import DISRUPTION_REASON, NodeClaim
from autonodes.controllers.claims import Claims, Mark, deleted_at
from autonodes.controllers.draining import DISRUPTED
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.nodes import Nodes
from autonodes.controllers.podevents import PodEvents
from autonodes.controllers.providers import GROUP
from autonodes.controllers.provisioning import Provisioner
from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.snapshots import Snapshots
from autonodes.controllers.waiting import wait_for_event
from autonodes.core.budgets import EMPTY
from autonodes.core.clock import Clock
from autonodes.core.emptiness import Verdict, empty_nodes, holds
from autonodes.core.errors import AutonodesError
from autonodes.core.model import Node, Pod
from autonodes.kube.cache import Change
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import ApiError, ConflictError

log = logging.getLogger(__name__)


class Emptiness:
    def __init__(
        self,
        state: ClusterState,
        snapshots: Snapshots,
        provisioner: Provisioner,
        claims: Claims,
        nodes: Nodes,
        pod_events: PodEvents,
        freeze: Freeze,
        *,
        clock: Clock,
        settings: ControllerSettings,
    ) -> None:
        self._state, self._snapshots, self._provisioner = state, snapshots, provisioner
        self._claims, self._nodes, self._pod_events = claims, nodes, pod_events
        self._freeze, self._clock, self._settings = freeze, clock, settings
        self._changed = asyncio.Event()
        self._deleted: dict[str, str] = {}

    def subscribe(self) -> None:
        """Follow the pods and claims."""
        self._state.pods.subscribe(self._pod_changed)
        self._state.nodeclaims.subscribe(lambda _: self._changed.set())

    def _pod_changed(self, change: Change[Pod]) -> None:
        if change.old is not None and change.old.node_name and (change.new is None or change.new.terminal):
            self._changed.set()

    async def run(self) -> None:
        """Pass after pass, until cancelled."""
        while True:
            self._changed.clear()
            pause = self._settings.emptiness_interval
            try:
                pause = min(pause, await self.consolidate())
            except AutonodesError as error:
                log.warning("no node is given back: %s", error)
            except Exception:
                log.exception("emptiness: a defect")
            await self._clock.sleep(self._settings.emptiness_apart)
            await wait_for_event(self._changed, max(0.0, pause - self._settings.emptiness_apart), self._clock)

    async def consolidate(self) -> float:
        """One pass.

        :return: seconds to the next one at the latest
        :raises AutonodesError: not now: something can't be counted
        """
        await self._untaint_the_kept()
        if self._is_behind() or not self._anything_empty():
            return self._settings.emptiness_interval
        view = await self._snapshots.take(self._provisioner.nominations())
        if not view.headroom_known:
            return self._settings.emptiness_apart
        claims = self._state.nodeclaims.items
        events = {name: self._pod_events.last(claim) for name, claim in claims.items()}
        verdicts = empty_nodes(view.snapshot, events)
        for verdict in verdicts:
            log.debug("node %s: %s: %s", verdict.node, verdict.code, verdict.text)
            if verdict.removable:
                await self._give_back(verdict)
        later = [each.not_before - view.snapshot.now for each in verdicts if each.not_before is not None]
        return max(0.0, min(later, default=self._settings.emptiness_interval))

    def _is_behind(self) -> bool:
        """Whether the cache does not show yet what the pass before has deleted."""
        self._deleted = {uid: name for uid, name in self._deleted.items() if self._is_kept(name, uid)}
        return bool(self._deleted)

    def _is_kept(self, name: str, uid: str) -> bool:
        claim = self._state.nodeclaims.get(name)
        return claim is not None and claim.metadata.uid == uid and deleted_at(claim) is None

    def _anything_empty(self) -> bool:
        """Whether a pass could find anything; a snapshot of a large cluster is not made for nothing."""
        now = self._clock.now()
        return any(
            deleted_at(claim) is None
            and claim.name in self._state.nodes.items
            and not any(holds(pod, now) for pod in self._state.pods_on(claim.name).values())
            for claim in self._state.nodeclaims.items.values()
        )

    async def _untaint_the_kept(self) -> None:
        for node in tuple(self._state.nodes.items.values()):
            claim = self._state.nodeclaims.get(node.name)
            if (
                DISRUPTED in node.taints
                and claim is not None
                and claim.spec.node_class_ref.group == GROUP
                and claim.metadata.uid not in self._deleted
            ):
                await self._untaint(claim)

    async def _untaint(self, claim: NodeClaim) -> None:
        fresh = await self._claims.get(claim.name, claim.metadata.uid)
        if fresh is not None and deleted_at(fresh) is None:
            log.info("node %s stays: its taint is taken off", claim.name)
            if fresh.condition(DISRUPTION_REASON):
                await self._claims.mark(fresh, Mark(DISRUPTION_REASON, "False", "Kept"))
            await self._nodes.uncordon(claim.name)

    async def _give_back(self, verdict: Verdict) -> None:
        claim, node = self._state.nodeclaims.get(verdict.claim), self._state.nodes.get(verdict.node)
        if claim is None or node is None:
            return
        try:
            await self._nodes.cordon(node)
            fresh = await self._claims.get(claim.name, claim.metadata.uid)
            if fresh is None or deleted_at(fresh) is not None:
                return
            if reason := await self._kept_after_all(node):
                log.info("node %s stays: %s", node.name, reason)
                await self._nodes.uncordon(node.name)
                return
            await self._delete(fresh, node, verdict)
        except ConflictError:
            log.info("node %s changed meanwhile: it is looked at again", node.name)

    async def _kept_after_all(self, node: Node) -> str:
        """Why the node must stay, by what the API server says now; "" if it may go."""
        now = self._clock.now()
        holding = [pod.key for pod in await self._nodes.pods_now(node.name) if holds(pod, now)]
        if holding:
            return f"pods came to it: {', '.join(holding[:3])}"
        if node.name in self._provisioner.nominations().values():
            return "a pending pod was promised it"
        return "; ".join(self._freeze.reasons())

    async def _delete(self, claim: NodeClaim, node: Node, verdict: Verdict) -> None:
        log.info("node %s is given back: %s", node.name, verdict.text)
        claim = await self._claims.mark(claim, Mark(DISRUPTION_REASON, "True", EMPTY, verdict.text))
        self._deleted[claim.metadata.uid] = claim.name
        self._claims.report(claim, "DisruptionTerminating", f"Disrupting NodeClaim: {EMPTY}")
        self._nodes.report(node, "DisruptionTerminating", f"Disrupting Node: {EMPTY}")
        try:
            await self._claims.delete(claim)
        except ApiError:
            del self._deleted[claim.metadata.uid]
            raise
