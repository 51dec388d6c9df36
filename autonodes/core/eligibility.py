"""Which nodes may be disrupted although pods run on them, and what keeps the others.

A node may not go while it is on its way in or out, while pods that wait are promised to it, or while anything says
that it or a pod on it must not be disrupted: the ``karpenter.sh/do-not-disrupt`` annotation, a PodDisruptionBudget that
allows no eviction, one of its namespace that can't be read, or two budgets on one pod, which the eviction API refuses
to serve.

A claim with a ``terminationGracePeriod`` may drift in spite of its pods: its drain comes to an end. Its own annotation
still holds it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from autonodes.core.disruptability import protected, protected_pod
from autonodes.core.disruptioncost import disruption_cost
from autonodes.core.emptiness import quiet_from
from autonodes.core.labels import DO_NOT_DISRUPT
from autonodes.core.model import Claim, Node, NodePool, Pod, Snapshot
from autonodes.core.podbudgets import DisruptionBudget
from autonodes.core.simulation import Simulation
from autonodes.core.targets import is_initialized, pair

WHEN_EMPTY = "WhenEmpty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """:param pods: those that would have to run elsewhere
    :param cost: of its disruption, see `disruptioncost`
    """

    node: Node
    claim: Claim
    pool: NodePool
    pods: tuple[Pod, ...]
    cost: float


class Eligibility:
    def __init__(self, snapshot: Snapshot, simulation: Simulation, budgets: tuple[DisruptionBudget, ...]) -> None:
        self._now, self._simulation = snapshot.now, simulation
        self._budgets: dict[str, list[DisruptionBudget]] = defaultdict(list)
        for budget in budgets:
            self._budgets[budget.namespace].append(budget)
        self._on_node: dict[str, list[Pod]] = defaultdict(list)
        for pod in snapshot.pods:
            if pod.node_name:
                self._on_node[pod.node_name].append(pod)
        pools, claims = {pool.name: pool for pool in snapshot.pools}, pair(snapshot)
        self._ours = {
            node.name: self._candidate(node, claims[node.name], pools[claims[node.name].pool])
            for node in snapshot.nodes
            if node.name in claims and claims[node.name].pool in pools
        }

    def _candidate(self, node: Node, claim: Claim, pool: NodePool) -> Candidate:
        pods = tuple(self._simulation.pods_on(node.name))
        cost = disruption_cost(pods, age=self._now - claim.created_at, expire_after=pool.expire_after)
        return Candidate(node=node, claim=claim, pool=pool, pods=pods, cost=cost)

    def costs_of(self, pools: Collection[str]) -> dict[str, float]:
        """Node → cost of its disruption, for all nodes of these pools."""
        return {name: each.cost for name, each in self._ours.items() if each.pool.name in pools}

    def drifted(self, names: Collection[str], claims: Collection[str], blocked: dict[str, str]) -> Iterator[Candidate]:
        """Those of the named nodes that may be replaced because of drift; what keeps the others is noted.

        :param claims: names of those that have drifted
        """
        for candidate in self._present(names):
            if candidate.claim.name not in claims:
                continue
            kept = self._held(candidate)
            if not kept and candidate.claim.termination_grace_period is None:
                kept = self._held_by_pods(candidate)
            if kept:
                blocked[candidate.node.name] = kept
            else:
                yield candidate

    def underutilized(
        self, names: Collection[str], blocked: dict[str, str], *, pod_events: Mapping[str, float], min_age: float
    ) -> Iterator[Candidate]:
        """The same because of bad use.

        :param min_age: seconds; younger nodes are left alone
        """
        for candidate in self._present(names):
            kept = (
                self._held(candidate)
                or self._held_by_time(candidate, pod_events.get(candidate.node.name, 0.0), min_age)
                or self._held_by_pods(candidate)
            )
            if kept:
                blocked.setdefault(candidate.node.name, kept)  # what keeps a drifted one is more telling
            else:
                yield candidate

    def _present(self, names: Collection[str]) -> Iterator[Candidate]:
        for name in sorted(names):
            candidate = self._ours.get(name)
            if candidate is None or candidate.node.deleted_at is not None or candidate.claim.deleted_at is not None:
                continue
            if is_initialized(candidate.node, candidate.claim) and candidate.node.ready:
                yield candidate

    def _held(self, candidate: Candidate) -> str:
        if protected(candidate.node.annotations) or protected(candidate.claim.annotations):
            return f"it has the annotation {DO_NOT_DISRUPT}"
        if candidate.node.name in self._simulation.promised:
            return "pending pods will go there"
        return ""

    def _held_by_time(self, candidate: Candidate, last_event: float, min_age: float) -> str:
        pool, created = candidate.pool, candidate.claim.created_at
        if pool.consolidation_policy == WHEN_EMPTY:
            return f"consolidationPolicy of NodePool {pool.name} is {WHEN_EMPTY}"
        due = quiet_from(pool.consolidate_after, max(last_event, created))
        if due is None:
            return f"consolidateAfter of NodePool {pool.name} is Never"
        if self._now < due:
            return "consolidateAfter has not passed since the last pod event"
        if self._now < created + min_age:
            return "it is too young"
        return ""

    def _held_by_pods(self, candidate: Candidate) -> str:
        for pod in self._on_node.get(candidate.node.name, ()):
            if protected_pod(pod, self._now):
                return f"pod {pod.key} has the annotation {DO_NOT_DISRUPT}"
        for pod in candidate.pods:
            if (
                unread := next((each for each in self._budgets.get(pod.namespace, ()) if each.fault), None)
            ) is not None:
                where = f"{unread.namespace}/{unread.name}"
                return f"PodDisruptionBudget {where} can't be read and may guard pod {pod.key}: {unread.fault}"
            guards = [budget for budget in self._budgets.get(pod.namespace, ()) if budget.selects(pod)]
            if len(guards) > 1:
                return f"pod {pod.key} has more than one PodDisruptionBudget: {', '.join(each.name for each in guards)}"
            if any(budget.blocks(pod) for budget in guards):
                return f"PodDisruptionBudget {guards[0].namespace}/{guards[0].name} lets pod {pod.key} not go"
        return ""
