"""Groups of pods that are of use only together: all of them get a node, or nothing is bought for any.

A pod is in a group by ``spec.schedulingGroup`` (a PodGroup of Kubernetes 1.37, KEP-4671), or by the label
``autonodes.io/pod-group`` with the group's minimum in another. The planner itself knows nothing of groups. It is asked
for a plan, and the plan is looked at: a group of which fewer pods than its minimum found a place is taken out, and the
rest is planned again without it. Where several don't fit beside each other, the last one goes first: the least
important, then the youngest, then by name.

A group may require that all its pods see one value of a node label (a zone, a rack). Each value that nodes, claims or
the catalogue have is tried, with nothing else waiting, and the cheapest that holds the group is required of its pods
like a node selector. Where some of the group run already, they have decided. For ``kubernetes.io/hostname`` the pods
are planned as one that is as large as all of them (`together`).

Limits: a domain is chosen for one group after another, not for all at once; a group that is in no one's way is not
helped by preemption; groups of groups (CompositePodGroup) are not known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from autonodes.core.catalog import build_catalog
from autonodes.core.labels import HOSTNAME, POD_GROUP, POD_GROUP_MIN_MEMBER, REQUIRED_TOPOLOGY
from autonodes.core.model import Plan, Pod, PodGroup, PodUID, Purchase, Reason, Snapshot
from autonodes.core.requirements import Requirement, Requirements
from autonodes.core.shapes import in_order, is_planned
from autonodes.core.targets import node_labels
from autonodes.core.together import Together, merge

GROUP_INVALID: Final = "PodGroupInvalid"
GROUP_WAITS: Final = "PodGroupIncomplete"
GROUP_REFUSED: Final = "PodGroupUnschedulable"

MOST_TRIES: Final = 16
"""Groups that stood in another's way and are tried once more at the end; each costs a plan."""

Planner = Callable[[Snapshot], Plan]


@dataclass(frozen=True)
class Gang:
    """:param minimum: pods of the group that must have a node, those that run included
    :param waiting: those to be planned, in the order in which they are served
    :param running: those that have a node
    :param domain: what each of its pods must find on its node
    """

    key: str
    minimum: int
    topology_key: str
    waiting: tuple[Pod, ...]
    running: tuple[Pod, ...]
    domain: Requirements = field(default_factory=Requirements)

    @property
    def present(self) -> int:
        return len(self.waiting) + len(self.running)

    @property
    def order(self) -> tuple[int, float, str]:
        return (-max(pod.priority for pod in self.waiting), min(pod.created_at for pod in self.waiting), self.key)

    @property
    def constrained(self) -> tuple[Pod, ...]:
        """The pods that wait, each held to the domain."""
        if not self.domain:
            return self.waiting
        return tuple(
            replace(pod, required_terms=tuple(term & self.domain for term in pod.required_terms or (Requirements(),)))
            for pod in self.waiting
        )

    def placed(self, plan: Plan) -> int:
        """How many of it have a node, or get one by this plan."""
        return len(self.running) + sum(1 for pod in self.waiting if pod.uid not in plan.unplaced)

    def whole(self, plan: Plan) -> bool:
        return self.placed(plan) >= self.minimum

    def __str__(self) -> str:
        return f"pod group {self.key}"


def group_of(pod: Pod) -> str:
    """``namespace/name`` of the pod's group, "" if it is in none."""
    name = pod.group or pod.labels.get(POD_GROUP, "")
    return f"{pod.namespace}/{name}" if name else ""


def plan_groups(snapshot: Snapshot, plan_pods: Planner) -> Plan:
    """A plan that keeps groups whole.

    :param plan_pods: plans pods one by one
    """
    members: dict[str, list[Pod]] = defaultdict(list)
    for pod in snapshot.pods:
        if group := group_of(pod):
            members[group].append(pod)
    if not any(is_planned(pod) for pods in members.values() for pod in pods):
        return plan_pods(snapshot)
    return _Planning(snapshot, members, plan_pods).plan()


class _Planning:
    """One planning of a snapshot that has groups.

    :ivar _refused: of the groups that can't be whole, what each of their pods is told
    :ivar _waits: likewise of those that are not complete yet, or not understood
    """

    def __init__(self, snapshot: Snapshot, members: Mapping[str, Sequence[Pod]], plan_pods: Planner) -> None:
        self._snapshot, self._plan_pods = snapshot, plan_pods
        self._refused: dict[str, Mapping[PodUID, tuple[Reason, ...]]] = {}
        self._waits: dict[str, Mapping[PodUID, tuple[Reason, ...]]] = {}
        gangs = [gang for key, pods in sorted(members.items()) if (gang := self._read(key, pods)) is not None]
        self._gangs = sorted(gangs, key=lambda gang: gang.order)
        in_groups = {pod.uid for pods in members.values() for pod in pods if is_planned(pod)}
        self._alone = tuple(pod for pod in snapshot.pods if is_planned(pod) and pod.uid not in in_groups)
        self._there = tuple(pod for pod in snapshot.pods if not is_planned(pod))

    def plan(self) -> Plan:
        accepted = self._settle_domains()
        plan = self._with(accepted)
        hopeless = [gang for gang in accepted if not gang.whole(plan) and self._refuse_if_hopeless(gang)]
        if hopeless:
            accepted = [gang for gang in accepted if gang not in hopeless]
            plan = self._with(accepted)
        put_off: list[Gang] = []
        while broken := [gang for gang in accepted if not gang.whole(plan)]:
            put_off.insert(0, broken[-1])
            self._refuse(broken[-1], plan)
            accepted = [gang for gang in accepted if gang is not broken[-1]]
            plan = self._with(accepted)
        plan = self._try_again(put_off[:MOST_TRIES] if len(put_off) > 1 else [], accepted, plan)
        told = {
            uid: why for each in (self._refused, self._waits) for group in each.values() for uid, why in group.items()
        }
        return replace(
            plan,
            purchases=self._with_groups(plan.purchases),
            unplaced={**plan.unplaced, **told},
            refused_groups=tuple(sorted(self._refused)),
        )

    def _with_groups(self, purchases: Iterable[Purchase]) -> tuple[Purchase, ...]:
        group_of_pod = {pod.uid: gang.key for gang in self._gangs for pod in gang.waiting}
        return tuple(
            replace(each, groups=tuple(sorted({group_of_pod[uid] for uid in each.pods if uid in group_of_pod})))
            for each in purchases
        )

    def _settle_domains(self) -> list[Gang]:
        """The groups in order, each in its domain, without those that no domain holds."""
        accepted: list[Gang] = []
        for gang in self._gangs:
            if gang.topology_key in ("", HOSTNAME):
                accepted.append(gang)
            elif (settled := self._in_a_domain(gang, accepted)) is not None:
                accepted.append(settled)
        return accepted

    def _in_a_domain(self, gang: Gang, beside: Sequence[Gang]) -> Gang | None:
        """The group in the cheapest domain that holds it; if there is none it is refused."""
        tried = []
        for value in self._domains(gang):
            held = replace(gang, domain=Requirements([Requirement.of(gang.topology_key, "In", [value])]))
            plan = self._planned((*beside, held), alone=())
            tried.append((not held.whole(plan), -held.placed(plan), plan.cost, value, held, plan))
        if not tried:
            self._refuse(gang, None, f"no node and no instance type has the label {gang.topology_key}")
            return None
        unfit, *_, value, held, plan = min(tried, key=lambda each: each[:4])
        if unfit:
            self._refuse(held, plan, f"the best of {len(tried)} domains is {gang.topology_key}={value}")
            return None
        return held

    def _domains(self, gang: Gang) -> list[str]:
        """The values of the group's topology label that come into question."""
        key = gang.topology_key
        labels = {node.name: node_labels(node) for node in self._snapshot.nodes}
        taken = {labels.get(pod.node_name, {}).get(key, "") for pod in gang.running}
        if taken:
            return sorted(taken) if len(taken) == 1 and "" not in taken else []
        found = {value for each in labels.values() if (value := each.get(key))}
        found |= {value for claim in self._snapshot.claims if (value := claim.labels.get(key))}
        index = build_catalog(self._snapshot).labels
        for pool in self._snapshot.pools:
            offered = index.offered(pool.name, key)
            found |= offered.values if offered is not None and not offered.complement else set()
        return sorted(found)

    def _refuse_if_hopeless(self, gang: Gang) -> bool:
        plan = self._planned((gang,), alone=())
        if gang.whole(plan):
            return False
        self._refuse(gang, plan)
        return True

    def _try_again(self, put_off: Sequence[Gang], accepted: Sequence[Gang], plan: Plan) -> Plan:
        """What stood in the way of a group may have been taken out after it."""
        kept = list(accepted)
        for gang in put_off:
            tried = self._with([*kept, gang])
            if all(each.whole(tried) for each in (*kept, gang)):
                kept.append(gang)
                del self._refused[gang.key]
                plan = tried
        return plan

    def _with(self, gangs: Sequence[Gang]) -> Plan:
        return self._planned(gangs, alone=self._alone)

    def _planned(self, gangs: Sequence[Gang], *, alone: tuple[Pod, ...]) -> Plan:
        """The plan for these groups and pods, and for nothing else that waits."""
        waiting: list[Pod] = list(alone)
        merged: list[Together] = []
        for gang in gangs:
            if gang.topology_key == HOSTNAME:
                one = merge(self._at_home(gang), str(gang))
                merged.append(one)
                waiting.append(one.pod)
            else:
                waiting.extend(gang.constrained)
        plan = self._plan_pods(replace(self._snapshot, pods=(*self._there, *in_order(waiting))))
        for one in merged:
            plan = one.split(plan)
        return plan

    def _at_home(self, gang: Gang) -> tuple[Pod, ...]:
        """A group that must share a node goes where some of it run."""
        nodes = {pod.node_name for pod in gang.running}
        if not nodes:
            return gang.waiting
        here = Requirements([Requirement.of(HOSTNAME, "In", sorted(nodes)[:1] if len(nodes) == 1 else [""])])
        return replace(gang, domain=here).constrained

    def _refuse(self, gang: Gang, plan: Plan | None, more: str = "") -> None:
        """Tell the pods of a group that it can't be whole; those that found no place in the plan are told why, too."""
        placed = len(gang.running) if plan is None else gang.placed(plan)
        text = f"{gang} needs {gang.minimum} pods with a node, and {placed} of its {gang.present} can have one"
        text += f" ({more})" if more else ""
        why = Reason(pool="", code=GROUP_REFUSED, text=f"{text}: nothing is bought for it")
        unplaced = {} if plan is None else plan.unplaced
        self._refused[gang.key] = {pod.uid: (why, *unplaced.get(pod.uid, ())) for pod in gang.waiting}

    def _read(self, key: str, pods: Sequence[Pod]) -> Gang | None:
        """The group of these pods; None if none of them is to be planned, or if they must wait."""
        waiting = tuple(in_order(pod for pod in pods if is_planned(pod)))
        if not waiting:
            return None
        running = tuple(pod for pod in pods if pod.node_name and not pod.terminal)
        known = {f"{group.namespace}/{group.name}": group for group in self._snapshot.groups}
        group = known.get(key) if any(pod.group for pod in pods) else _by_labels(waiting)
        if not isinstance(group, PodGroup):
            text = group or f"pod group {key} does not exist: create the PodGroup that spec.schedulingGroup names"
            self._wait(key, waiting, GROUP_INVALID, text)
            return None
        gang = Gang(key, group.min_count, group.topology_key, waiting, running)
        if gang.present < gang.minimum:
            text = f"{gang} waits for more pods: {gang.present} of at least {gang.minimum} wait or run"
            self._wait(key, waiting, GROUP_WAITS, text)
            return None
        return gang

    def _wait(self, key: str, waiting: Iterable[Pod], code: str, text: str) -> None:
        self._waits[key] = {pod.uid: (Reason(pool="", code=code, text=text),) for pod in waiting}


def _by_labels(pods: Sequence[Pod]) -> PodGroup | str:
    """The group that the pods' labels describe, or what is wrong with them."""
    first = pods[0]
    minimum = first.labels.get(POD_GROUP_MIN_MEMBER, "1")
    topology = first.annotations.get(REQUIRED_TOPOLOGY, "")
    for pod in pods:
        theirs = (pod.labels.get(POD_GROUP_MIN_MEMBER, "1"), pod.annotations.get(REQUIRED_TOPOLOGY, ""))
        if theirs != (minimum, topology):
            return (
                f"pods {first.key} and {pod.key} of one group differ: label {POD_GROUP_MIN_MEMBER} and annotation "
                f"{REQUIRED_TOPOLOGY} must be the same on all"
            )
    if not (minimum.isascii() and minimum.isdigit() and int(minimum) > 0):
        return f"metadata.labels[{POD_GROUP_MIN_MEMBER}]: {minimum!r}: write a positive number"
    return PodGroup(namespace=first.namespace, name=group_of(first), min_count=int(minimum), topology_key=topology)
