"""Which nodes go, and what comes first in their place: one decision on one snapshot. A pure function.

Three reasons, in this order; the first under which anything can be done decides alone:

- **Empty**: nothing runs there that would have to run elsewhere (`emptiness`).
- **Drifted**: the claim is no longer what its pool would buy. As many nodes at once as the budget allows.
- **Underutilized**: its pods fit elsewhere, or onto new nodes that cost less.

For the last two the planner says where the pods would go if the nodes were not there (`simulation`), for many nodes in
one plan. Nodes whose pods share a purchase can only go together; each such group is a command of its own. A group
whose pods do not all have a place is left alone, with the pods named. Consolidation takes the nodes that may go in the
order of what their going costs the workloads, a hundred at a time: all of them, then half, a quarter, and so on; what
saves most is done. If none of that saves anything, nodes are tried one by one: a bounded number in each decision,
others each minute.

Against churn: replacing saves at least a given share of what the nodes cost, whatever is launched in the end, and
nodes younger than a given age are left alone. Budgets, annotations, PodDisruptionBudgets: see `eligibility`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from autonodes.core.budgets import DRIFTED, EMPTY, UNDERUTILIZED, allowances
from autonodes.core.eligibility import Candidate, Eligibility
from autonodes.core.emptiness import BUDGET_EXHAUSTED, Verdict, empty_nodes
from autonodes.core.fleet import hourly_costs
from autonodes.core.labels import CAPACITY_SPOT, CAPACITY_TYPE
from autonodes.core.model import Plan, PodUID, Purchase, Snapshot
from autonodes.core.podbudgets import DisruptionBudget
from autonodes.core.replacing import SPOT_CHOICE, cheaper, with_spot_choice
from autonodes.core.simulation import Simulation, owners
from autonodes.core.staticpools import purchase, room
from autonodes.core.targets import is_initialized, pair

BALANCED: Final = "Balanced"
_BALANCE: Final = 0.5
"""Of savings to disruption, both as shares of the pool's: what ``Balanced`` asks for at least."""

_SINGLES: Final = 1000
"""Nodes that are tried one by one in one decision."""

_TOGETHER: Final = 100
"""Nodes that one decision consolidates at most, as in Karpenter: what goes together fails together."""

_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """:param min_savings: share of the cost of the nodes that a replacement must save
    :param min_age: seconds that a node must have been there before it counts as badly used
    """

    min_savings: float = 0.05
    min_age: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What decisions need to know beside the snapshot.

    :param pod_events: node → when a pod last came to it or left it, in seconds since the epoch
    :param drifted: names of the claims that have drifted
    :param budgets: the PodDisruptionBudgets
    :param busy: names of claims that are part of something under way
    """

    pod_events: Mapping[str, float] = field(default_factory=dict)
    drifted: frozenset[str] = frozenset()
    budgets: tuple[DisruptionBudget, ...] = ()
    busy: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Nodes that go together, when their replacements are there.

    :param candidates: names of the nodes
    :param claims: the claims behind them, in the same order
    :param pods: what has to run elsewhere
    :param saved: dollars an hour; negative if it costs more (drift)
    """

    reason: str
    candidates: tuple[str, ...]
    claims: tuple[str, ...]
    replacements: tuple[Purchase, ...] = ()
    pods: frozenset[PodUID] = frozenset()
    saved: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """:param blocked: node that would go → what keeps it, for an event
    :param verdicts: on each node, whether it is empty
    :param eligible: reason → how many nodes may go for it, budgets aside; only of the reasons that were looked at
    """

    commands: tuple[Command, ...] = ()
    eligible: Mapping[str, int] = field(default_factory=dict)
    blocked: Mapping[str, str] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()


def decide(
    snapshot: Snapshot, facts: Circumstances, policy: Policy | None = None, *, only: Collection[str] | None = None
) -> Decision:
    """What to do now.

    :param only: names of the nodes that are looked at, to see whether an earlier decision still holds; None for all
    """
    verdicts = tuple(empty_nodes(snapshot, facts.pod_events))
    may = [each for each in verdicts if _is_asked_for(each.node, only) and each.claim not in facts.busy]
    simulation = Simulation(snapshot)
    empty = [each for each in may if each.removable and each.node not in simulation.promised]
    costs = hourly_costs(snapshot)
    eligible = {EMPTY: sum(each.code in (EMPTY, BUDGET_EXHAUSTED) for each in may)}
    if empty:
        return Decision(commands=tuple(_emptied(each, costs) for each in empty), eligible=eligible, verdicts=verdicts)
    if all(each.claim not in facts.drifted for each in may) and not any(each.code == "InUse" for each in may):
        return Decision(eligible={**eligible, DRIFTED: 0, UNDERUTILIZED: 0}, verdicts=verdicts)
    engine = _Engine(snapshot, facts, policy or Policy(), simulation, costs)
    names = frozenset(each.node for each in may)
    commands = [*engine.static_drift(names), *engine.drift(names)] or engine.consolidation(names)
    return Decision(
        commands=tuple(commands),
        eligible={**eligible, **engine.eligible},
        blocked=engine.blocked,
        verdicts=verdicts,
    )


def _is_asked_for(node: str, only: Collection[str] | None) -> bool:
    return only is None or node in only


def _emptied(verdict: Verdict, costs: Mapping[str, float]) -> Command:
    return Command(
        reason=EMPTY, candidates=(verdict.node,), claims=(verdict.claim,), saved=costs.get(verdict.node, 0.0)
    )


class _Engine:
    def __init__(
        self,
        snapshot: Snapshot,
        facts: Circumstances,
        policy: Policy,
        simulation: Simulation,
        costs: Mapping[str, float],
    ) -> None:
        self._snapshot, self._facts, self._policy = snapshot, facts, policy
        self._simulation, self._costs = simulation, costs
        self._eligibility = Eligibility(snapshot, simulation, facts.budgets)
        self.blocked: dict[str, str] = {}
        self.eligible: Counter[str] = Counter()
        claims = pair(snapshot)
        self._there = {node.name for node in snapshot.nodes if is_initialized(node, claims.get(node.name))}

    def drift(self, names: Collection[str]) -> list[Command]:
        """Those that have drifted for longest first, as far as the budgets go."""
        found = list(self._eligibility.drifted(names, self._facts.drifted, self.blocked))
        self.eligible[DRIFTED] += len(found)
        chosen = self._within_budgets(sorted(found, key=_age), DRIFTED)
        return list(self._commands(chosen, DRIFTED))

    def static_drift(self, names: Collection[str]) -> list[Command]:
        """The same for static pools: one node more for each that goes, as far as the pools' limits have room."""
        if not self._snapshot.static_pools:
            return []
        of_static = replace(self._snapshot, pools=self._snapshot.static_pools)
        eligibility = Eligibility(of_static, self._simulation, self._facts.budgets)
        found = list(eligibility.drifted(names, self._facts.drifted, self.blocked))
        self.eligible[DRIFTED] += len(found)
        left = {
            pool.name: room(pool, [each for each in self._snapshot.claims if each.pool == pool.name], len(found))
            for pool in of_static.pools
        }
        commands = []
        for each in self._within_budgets(sorted(found, key=_age), DRIFTED, of_static):
            if left[each.pool.name] <= 0:
                text = f"the limit on nodes of NodePool {each.pool.name} leaves no room for its replacement"
                self.blocked[each.node.name] = text
                continue
            left[each.pool.name] -= 1
            commands.append(
                Command(
                    reason=DRIFTED,
                    candidates=(each.node.name,),
                    claims=(each.claim.name,),
                    replacements=(purchase(each.pool, self._snapshot.daemonsets),),
                    pods=frozenset(pod.uid for pod in each.pods),
                )
            )
        return commands

    def consolidation(self, names: Collection[str]) -> list[Command]:
        """What saves most."""
        found = list(
            self._eligibility.underutilized(
                names, self.blocked, pod_events=self._facts.pod_events, min_age=self._policy.min_age
            )
        )
        self.eligible[UNDERUTILIZED] += len(found)
        ranked = self._within_budgets(sorted(found, key=lambda each: (each.cost, each.node.name)), UNDERUTILIZED)
        best: list[Command] = []
        for together in _portions(ranked):
            commands = [each for each in self._commands(together, UNDERUTILIZED) if each.saved > 0]
            best = max((best, commands), key=_worth)
        return best or self._singles(ranked)

    def _singles(self, ranked: Sequence[Candidate]) -> list[Command]:
        start = int(self._snapshot.now // _MINUTE) * _SINGLES % max(1, len(ranked))
        for candidate in (*ranked[start:], *ranked[:start])[:_SINGLES]:
            commands = list(self._commands([candidate], UNDERUTILIZED))
            if commands:
                return commands
        return []

    def _within_budgets(
        self, candidates: Iterable[Candidate], reason: str, snapshot: Snapshot | None = None
    ) -> list[Candidate]:
        left = allowances(snapshot or self._snapshot, reason)
        chosen = []
        for candidate in candidates:
            if left[candidate.pool.name] > 0:
                left[candidate.pool.name] -= 1
                chosen.append(candidate)
            else:
                text = f"the disruption budget of NodePool {candidate.pool.name} is used up"
                self.blocked.setdefault(candidate.node.name, text)
        return chosen

    def _commands(self, candidates: Sequence[Candidate], reason: str) -> Iterator[Command]:
        """One for each group of nodes that can only go together, and can."""
        while candidates:
            plan = self._simulation.without([each.node.name for each in candidates])
            stuck = self._stuck(candidates, plan)
            if not stuck:
                break
            candidates = [each for each in candidates if each.node.name not in stuck]
        else:
            return
        by_name = {each.node.name: each for each in candidates}
        homes = {pod.uid: each.node.name for each in candidates for pod in each.pods}
        groups = owners(plan, homes)
        alone = [frozenset((name,)) for name in by_name if name not in homes.values()]
        for group in (*groups, *alone):
            members = [by_name[name] for name in sorted(group)]
            bought = tuple(each for each in plan.purchases if any(homes.get(uid) in group for uid in each.pods))
            if (command := self._command(members, bought, reason)) is not None:
                yield command

    def _stuck(self, candidates: Iterable[Candidate], plan: Plan) -> set[str]:
        """Nodes with pods that have no other place, or none that is there yet: a machine in flight may never come.
        They are told which."""
        stuck = set()
        for candidate in candidates:
            homeless = [pod.key for pod in candidate.pods if pod.uid in plan.unplaced]
            early = {plan.placements[pod.uid] for pod in candidate.pods if pod.uid in plan.placements} - self._there
            if homeless:
                self.blocked[candidate.node.name] = f"no other place for {', '.join(sorted(homeless)[:3])}"
            elif early:
                self.blocked[candidate.node.name] = f"its pods would go to {min(early)}, which is not initialized yet"
            if homeless or early:
                stuck.add(candidate.node.name)
        return stuck

    def _command(self, members: Sequence[Candidate], bought: tuple[Purchase, ...], reason: str) -> Command | None:
        before = sum(self._costs.get(each.node.name, 0.0) for each in members)
        command = Command(
            reason=reason,
            candidates=tuple(each.node.name for each in members),
            claims=tuple(each.claim.name for each in members),
            replacements=bought,
            pods=frozenset(pod.uid for each in members for pod in each.pods),
            saved=before - sum(purchase.price for purchase in bought),
        )
        if reason == DRIFTED:
            return command
        return self._saving(command, members, before)

    def _saving(self, command: Command, members: Sequence[Candidate], before: float) -> Command | None:
        """The command, if it saves enough whatever is launched."""
        found = self._judged(command, members, before)
        if isinstance(found, str):
            for member in members:
                self.blocked.setdefault(member.node.name, found)
            return None
        return found

    def _judged(self, command: Command, members: Sequence[Candidate], before: float) -> Command | str:
        """The command with its purchases narrowed down, or why it is of no use."""
        bought = command.replacements
        if bought and any(each.node.name not in self._costs for each in members):
            return "its price is not known"
        if bought:
            saving = cheaper(bought, before * (1.0 - self._policy.min_savings))
            if saving is None:
                return "its pods would cost as much elsewhere"
            bought = saving
        if len(members) == len(bought) == 1 and _is_spot(members[0]):
            chosen = with_spot_choice(bought[0])
            if chosen is None:
                return f"there are fewer than {SPOT_CHOICE} cheaper spot types to replace it by"
            bought = (chosen,)
        if not self._is_balanced(command, members):
            return "what it would save is not worth the disruption"
        return replace(command, replacements=bought)

    def _is_balanced(self, command: Command, members: Sequence[Candidate]) -> bool:
        """For nodes of pools whose policy is ``Balanced``: savings as a share of the pools' cost against disruption as
        a share of the pools'."""
        pools = {each.pool.name for each in members}
        if all(each.pool.consolidation_policy != BALANCED for each in members):
            return True
        total = self._eligibility.costs_of(pools)
        money = sum(self._costs.get(name, 0.0) for name in total)
        disruption = sum(total.values())
        if not money or not disruption:
            return True
        return command.saved / money >= _BALANCE * sum(each.cost for each in members) / disruption


def _portions(ranked: Sequence[Candidate]) -> Iterator[Sequence[Candidate]]:
    """As many at a time as may go together, and of each such number the first half, the first quarter, and so on."""
    for start in range(0, len(ranked), _TOGETHER):
        count = min(len(ranked) - start, _TOGETHER)
        while count:
            yield ranked[start : start + count]
            count //= 2


def _worth(commands: Sequence[Command]) -> tuple[float, int]:
    """Of what saves the same, that with fewer purchases is better."""
    saved = round(sum(each.saved for each in commands), 9)
    return saved, -sum(len(each.replacements) for each in commands)


def _age(candidate: Candidate) -> tuple[float, str]:
    return candidate.claim.created_at, candidate.node.name


def _is_spot(candidate: Candidate) -> bool:
    return candidate.node.labels.get(CAPACITY_TYPE, candidate.claim.labels.get(CAPACITY_TYPE)) == CAPACITY_SPOT
