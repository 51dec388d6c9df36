"""Disruption of nodes for good reasons: empty, drifted, badly used.

`autonodes.core.disruption` decides on a snapshot; `commands` carries it out. Between the two lie fifteen seconds:
what was decided is decided once more on a new snapshot of the same nodes, and only what still comes out is done. Then
things that change for a moment (a rollout, a job that ends) are not acted on.

A decision is made when something changed that it depends on, and once a minute, for time passes, too; never while the
cache lags behind what was written or deleted here. In a fleet that changes all the time the next one waits `_REST`
times as long as the last one took, a minute at most: what is under way goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from autonodes.api.nodeclaim import DRIFTED
from autonodes.controllers.claims import Claims
from autonodes.controllers.commands import Commands
from autonodes.controllers.expectations import Expectations
from autonodes.controllers.freeze import FrozenError
from autonodes.controllers.nodes import Nodes
from autonodes.controllers.podevents import PodEvents
from autonodes.controllers.provisioning import Provisioner
from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.snapshots import Snapshots
from autonodes.controllers.waiting import wait_for_event
from autonodes.core.clock import Clock
from autonodes.core.disruption import Circumstances, Decision, Policy
from autonodes.core.errors import AutonodesError
from autonodes.core.model import Node, Pod, Snapshot
from autonodes.kube.cache import Change
from autonodes.kube.cluster import ClusterState

log = logging.getLogger(__name__)

_RESYNC: Final = 60.0
"""Seconds between two decisions at the latest."""

_REST: Final = 4.0
"""Pause before the next proposal, as a multiple of the time that the last decision took: a fifth of a core at most."""

_IN_LOOP: Final = 200
"""Pods up to which a decision is made in the event loop; a larger one runs beside it."""


class Decide(Protocol):
    def __call__(
        self, snapshot: Snapshot, facts: Circumstances, policy: Policy, *, only: frozenset[str] | None = None
    ) -> Decision: ...


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is looked at again before it is acted on.

    :param nodes: their names
    :param due: seconds since the epoch
    """

    nodes: frozenset[str]
    due: float


class Disruption:
    """:param decide: `autonodes.core.disruption.decide`
    :param decided: told of what is acted on
    """

    def __init__(
        self,
        state: ClusterState,
        snapshots: Snapshots,
        provisioner: Provisioner,
        commands: Commands,
        expectations: Expectations,
        claims: Claims,
        nodes: Nodes,
        pod_events: PodEvents,
        *,
        decide: Decide,
        decided: Callable[[Snapshot, Decision], None],
        clock: Clock,
        settings: ControllerSettings,
    ) -> None:
        self._state, self._snapshots, self._provisioner = state, snapshots, provisioner
        self._commands, self._expectations, self._claims, self._nodes = commands, expectations, claims, nodes
        self._pod_events, self._decide_on, self._decided = pod_events, decide, decided
        self._clock, self._settings = clock, settings
        self._policy = Policy(min_savings=settings.consolidation_savings, min_age=settings.consolidation_min_age)
        self._changed = asyncio.Event()
        self._proposal: Proposal | None = None
        self._decided_at: float | None = None
        self._told: dict[str, str] = {}
        self._rested_at = 0.0

    def is_proposed(self, node: str) -> bool:
        """Whether it is to be disrupted if that still comes out when it is decided once more."""
        return self._proposal is not None and node in self._proposal.nodes

    def subscribe(self) -> None:
        """Follow what decisions depend on."""
        self._state.pods.subscribe(self._pod_changed)
        self._state.nodes.subscribe(self._node_changed)
        self._state.nodeclaims.subscribe(self._something_changed)
        self._state.nodepools.subscribe(self._something_changed)
        self._state.budgets.subscribe(self._something_changed)
        self._state.budgets.subscribe_malformed(lambda _: self._look_soon())

    def _something_changed(self, _: Change[Any]) -> None:
        self._look_soon()

    def _look_soon(self) -> None:
        self._decided_at = None
        self._changed.set()

    def _pod_changed(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        if old is None or new is None or (old.node_name, old.phase) != (new.node_name, new.phase):
            self._something_changed(change)

    def _node_changed(self, change: Change[Node]) -> None:
        """Not what a kubelet reports all the time: a taint that goes frees a budget, too."""
        old, new = change.old, change.new
        if old is None or new is None or _standing(old) != _standing(new):
            self._something_changed(change)

    async def run(self) -> None:
        """Pass after pass, until cancelled."""
        while True:
            self._changed.clear()
            pause = self._settings.disruption_interval
            try:
                pause = min(pause, await self.look())
            except AutonodesError as error:
                log.warning("no node is disrupted now: %s", error)
            except Exception:
                log.exception("disruption: a defect")
            await self._clock.sleep(self._settings.disruption_apart)
            await wait_for_event(self._changed, max(0.0, pause - self._settings.disruption_apart), self._clock)

    async def look(self) -> float:
        """One pass.

        :return: seconds to the next one at the latest
        :raises AutonodesError: not now: something can't be counted
        """
        await self._expectations.met()
        await self._commands.advance()
        now, proposal = self._clock.now(), self._proposal
        if self._commands.is_behind or not self._state.nodeclaims.items:
            return self._settings.disruption_interval
        if proposal is None:
            return await self._propose(now)
        if now < proposal.due:
            return proposal.due - now
        self._proposal = None
        return await self._act(proposal)

    async def _propose(self, now: float) -> float:
        if self._decided_at is not None and now < self._decided_at + _RESYNC:
            return self._settings.disruption_interval
        if 0.0 < (rest := self._rested_at - now) <= _RESYNC:  # more: the clock was set back
            return rest
        self._decided_at = now  # strictly before the snapshot: a change after it asks for another decision
        try:
            snapshot, decision = await self._decide(None)
        except AutonodesError:
            self._decided_at = None
            raise
        self._tell(decision)
        self._claims.decisions.looked_at(snapshot, decision)
        nodes = frozenset(name for command in decision.commands for name in command.candidates)
        if nodes:
            self._proposal = Proposal(nodes, now + self._settings.disruption_validation)
            return self._settings.disruption_validation
        later = [each.not_before for each in decision.verdicts if each.not_before is not None]
        if later:
            self._decided_at = min(now, min(later) - _RESYNC)
        return max(0.0, min(later, default=now + _RESYNC) - snapshot.now)

    async def _act(self, proposal: Proposal) -> float:
        self._decided_at = None
        snapshot, decision = await self._decide(proposal.nodes)
        self._decided(snapshot, decision)
        self._claims.decisions.disrupting(snapshot, decision)
        counted = {claim.name for claim in snapshot.claims}
        for command in decision.commands:
            await self._commands.start(command, snapshot, counted)
        return 0.0

    async def _decide(self, only: frozenset[str] | None) -> tuple[Snapshot, Decision]:
        view = await self._snapshots.take(self._provisioner.nominations())
        if not view.headroom_known:
            raise FrozenError(["not all that room is kept for has been looked at yet"])
        facts, snapshot, started = self._facts(), view.snapshot, self._clock.now()
        if len(snapshot.pods) <= _IN_LOOP:
            decision = self._decide_on(snapshot, facts, self._policy, only=only)
        else:
            decision = await asyncio.to_thread(self._decide_on, snapshot, facts, self._policy, only=only)
        ended = self._clock.now()
        self._rested_at = ended + min(_RESYNC, _REST * (ended - started))
        return snapshot, decision

    def _facts(self) -> Circumstances:
        claims: Mapping[str, Any] = self._state.nodeclaims.items
        return Circumstances(
            pod_events={name: self._pod_events.last(claim) for name, claim in claims.items()},
            drifted=frozenset(name for name, claim in claims.items() if claim.condition(DRIFTED)),
            budgets=self._state.disruption_budgets(),
            busy=self._commands.busy(),
        )

    def _tell(self, decision: Decision) -> None:
        """What keeps nodes that would go otherwise, once each."""
        claims, nodes = self._state.nodeclaims, self._state.nodes
        for name, text in decision.blocked.items():
            claim, node = claims.get(name), nodes.get(name)
            if claim is None or node is None or self._told.get(name) == text:
                continue
            reason = "DisruptionBlocked" if claim.condition(DRIFTED) else "Unconsolidatable"
            self._claims.report(claim, reason, text)
            self._nodes.report(node, reason, text)
        self._told = dict(decision.blocked)


def _standing(node: Node) -> tuple[object, ...]:
    """What a decision looks at."""
    return (node.taints, node.ready, node.unschedulable, node.labels, node.annotations, node.deleted_at)
