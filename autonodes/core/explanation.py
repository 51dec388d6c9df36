"""Why a pod waits, why a node was bought and why it is kept: the planner's decisions, taken apart for one object.

All of it follows from a recording; nothing is asked of a cluster. Whether something is bought is the planner's answer;
what rules out a single node or instance type is the first thing in the order in which the planner looks: taints,
labels, room, price, availability. What lies beyond these (limits, spread, affinity) is told in the planner's words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from autonodes.core.catalog import Row, build_catalog
from autonodes.core.daemons import runs_on
from autonodes.core.disruption import decide
from autonodes.core.emptiness import DELETING, holds
from autonodes.core.errors import AutonodesError
from autonodes.core.fleet import hourly_costs
from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE, ZONE
from autonodes.core.model import Claim, InstanceType, Node, NodePool, Plan, Pod, Purchase, Snapshot
from autonodes.core.narration import DELETE, KEEP, REPLACE, disrupted, sentence, why_bought
from autonodes.core.planner import plan
from autonodes.core.quantities import format_resource
from autonodes.core.reasons import LIMIT_EXCEEDED
from autonodes.core.recording import Recording
from autonodes.core.requirements import Conflict, Requirements
from autonodes.core.resources import Resources, add, subtract
from autonodes.core.shapes import is_expendable, is_planned
from autonodes.core.taints import format_taint, untolerated
from autonodes.core.targets import is_initialized, node_labels, pair

WAITING: Final = "Waiting"
_MOST_NAMES: Final = 4


class UnknownObjectError(AutonodesError):
    """There is no such object in the snapshot.

    :param what: ``pod "web" not found in namespace "default"``
    """


@dataclass(frozen=True, slots=True)
class Section:
    """:param lines: each a whole; a table's columns are aligned already"""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """:param subject: ``pod default/web``
    :param state: in one word, as the object's conditions would put it
    :param because: the answer in a sentence
    """

    subject: str
    state: str
    because: str
    sections: tuple[Section, ...] = ()


def explain_pod(recording: Recording, namespace: str, name: str) -> Explanation:
    """Where it runs, where it will go, or why it waits.

    :raises UnknownObjectError: there is none
    """
    snapshot = recording.snapshot
    pod = next((each for each in snapshot.pods if each.namespace == namespace and each.name == name), None)
    if pod is None:
        raise UnknownObjectError(f'pod "{name}" not found in namespace "{namespace}"')
    subject = f"pod {pod.key}"
    settled = _settled(pod)
    if settled is not None:
        return Explanation(subject, *settled)
    made = plan(snapshot)
    target = made.placements.get(pod.uid)
    if target is not None:
        return Explanation(subject, "Nominated", f"it will go to {target}: there is room for it")
    purchase = next((each for each in made.purchases if pod.uid in each.pods), None)
    if purchase is not None:
        return Explanation(
            subject, "Planned", f"a node will be bought for it: {_offer(purchase)}, {why_bought(purchase)}"
        )
    return Explanation(subject, WAITING, _why_left(pod, made), tuple(_obstacles(pod, made, recording)))


def explain_node(recording: Recording, name: str) -> Explanation:
    """What it was bought for, and what keeps it.

    :raises UnknownObjectError: there is none
    """
    node = next((each for each in recording.snapshot.nodes if each.name == name), None)
    if node is None:
        raise UnknownObjectError(f'node "{name}" not found')
    claim = pair(recording.snapshot).get(name)
    if claim is None:
        state = "NotReady" if not node.ready else "Ready"
        return Explanation(f"node {name}", state, "it was not bought here: no NodeClaim stands behind it, so it stays")
    return _of_machine(f"node {name}", recording, claim, node)


def explain_claim(recording: Recording, name: str) -> Explanation:
    """What it was made for, how far it has come, and what keeps it.

    :raises UnknownObjectError: there is none
    """
    snapshot = recording.snapshot
    claim = next((each for each in snapshot.claims if each.name == name), None)
    if claim is None:
        raise UnknownObjectError(f'nodeclaim "{name}" not found')
    behind = {each.uid: node for node, each in pair(snapshot).items()}
    node = next((each for each in snapshot.nodes if each.name == behind.get(claim.uid)), None)
    return _of_machine(f"nodeclaim {name}", recording, claim, node)


def _settled(pod: Pod) -> tuple[str, str] | None:
    """State and reason of a pod that nothing is planned for."""
    if pod.node_name:
        return pod.phase, f"it is on node {pod.node_name}"
    if pod.deleted_at is not None:
        return "Deleting", "it is being deleted"
    if pod.gated:
        return "SchedulingGated", "it has scheduling gates: nobody looks at it until they are taken off"
    if pod.owner_kind in ("DaemonSet", "Node"):
        return (
            WAITING,
            f"it belongs to a {pod.owner_kind} and runs on its own node or nowhere: nothing is bought for it",
        )
    if not is_planned(pod):
        return WAITING, "kube-scheduler has not tried to place it yet"
    return None


def _offer(purchase: Purchase) -> str:
    name, zone, capacity_type, price = purchase.candidates[0]
    return f"{name} ({zone}, {capacity_type}) at ${price:.4f}/h"


def _why_left(pod: Pod, made: Plan) -> str:
    if is_expendable(pod):
        return "it is expendable: it takes what others leave, and nothing is bought for it"
    reasons = made.unplaced.get(pod.uid, ())
    return f"no node can take it and none can be bought: {sentence(reasons)}" if reasons else "no NodePool is there"


def _obstacles(pod: Pod, made: Plan, recording: Recording) -> Iterator[Section]:
    if pod.fault:
        return
    snapshot = recording.snapshot
    reasons = {reason.pool: reason for reason in made.unplaced.get(pod.uid, ())}
    if snapshot.nodes:
        found = [(_of_node(pod, node, snapshot), node.name) for node in snapshot.nodes]
        yield Section(f"Nodes ({len(found)})", _grouped(found))
    for pool in sorted(snapshot.pools, key=lambda each: (-each.weight, each.name)):
        taint = untolerated(pool.taints, pod.tolerations)
        reason = reasons.get(pool.name)
        if not pool.ready or taint is not None:
            yield Section(f"NodePool {pool.name}", (reason.text if reason else "it can't be used now",))
            continue
        types = snapshot.instance_types.get(pool.name, ())
        beyond = reason.text if reason else "something else rules it out"
        asked = _Asked(pod.requests, (pod.required_terms,), beyond)
        title = f"NodePool {pool.name} ({len(types)} instance types)"
        yield Section(title, _grouped(_by_type(asked, pool, types, snapshot)))
        if reason is not None and reason.code == LIMIT_EXCEEDED:
            yield Section(f"Limits of NodePool {pool.name}", (reason.text,))
    for name, why in sorted(recording.left_out.items()):
        yield Section(f"NodePool {name}", (f"left out: {why}",))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of an instance type.

    :param terms: of each pod the OR-ed terms
    :param beyond: what to say of one that has all of this
    """

    requests: Resources
    terms: tuple[tuple[Requirements, ...], ...]
    beyond: str


def _by_type(asked: _Asked, pool: NodePool, types: Iterable[InstanceType], snapshot: Snapshot) -> list[tuple[str, str]]:
    """The first thing that rules each type out, and the type's name."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in build_catalog(snapshot).rows:
        if row.pool.name == pool.name:
            rows[row.type.name].append(row)
    return [(_of_type(asked, pool, each, rows[each.name]), each.name) for each in types]


def _of_type(asked: _Asked, pool: NodePool, instance_type: InstanceType, rows: Sequence[Row]) -> str:
    if not rows:
        key = _clash(pool.requirements, instance_type)
        return f"the NodePool's own requirements exclude it{f' ({key})' if key else ''}"
    fitting = [row for row in rows if not any(_conflicts(row, terms) for terms in asked.terms)]
    if not fitting:
        conflict = next(each for terms in asked.terms for each in _conflicts(rows[0], terms))
        return _mismatch(conflict)
    roomy = [row for row in fitting if not _lacking(asked.requests, row.room)]
    if not roomy:
        names = _lacking(asked.requests, fitting[0].room)
        return f"too small: {', '.join(f'{name} {format_resource(name, asked.requests[name])}' for name in names)}"
    if all(row.offering.price is None for row in roomy):
        return "no price is known for it"
    if not any(row.buyable for row in roomy):
        return "not available now"
    return asked.beyond


def _conflicts(row: Row, terms: tuple[Requirements, ...]) -> list[Conflict]:
    """Of each of the OR-ed terms; empty if one of them will do."""
    labels = _labels(row)
    found = [labels.conflict(term) for term in terms]
    return [] if None in found else [each for each in found if each is not None]


def _mismatch(conflict: Conflict) -> str:
    return f"label does not match: {conflict.incoming}"


def _labels(row: Row) -> Requirements:
    offered = Requirements.from_labels({ZONE: row.offering.zone, CAPACITY_TYPE: row.offering.capacity_type})
    named = Requirements.from_labels({INSTANCE_TYPE: row.type.name})
    return row.pool.requirements.intersection(row.type.requirements, named, offered)


def _clash(requirements: Requirements, instance_type: InstanceType) -> str:
    both = requirements & instance_type.requirements
    empty = both.contradiction()
    if empty is not None:
        return empty.key
    offered = instance_type.offerings
    zones, kinds = requirements.allowed(ZONE), requirements.allowed(CAPACITY_TYPE)
    if not any(zones.has(each.zone) for each in offered):
        return ZONE
    return CAPACITY_TYPE if not any(kinds.has(each.capacity_type) for each in offered) else ""


def _lacking(requests: Resources, room: Resources) -> list[str]:
    return [name for name in sorted(requests) if requests[name] > max(0, room.get(name, 0))]


def _of_node(pod: Pod, node: Node, snapshot: Snapshot) -> str:
    claim = pair(snapshot).get(node.name)
    if node.deleted_at is not None or (claim is not None and claim.deleted_at is not None):
        return "being deleted"
    if node.unschedulable:
        return "cordoned"
    taint = untolerated(node.taints, pod.tolerations)
    if taint is not None:
        return f"untolerated taint {format_taint(taint)}"
    labels = node_labels(node)
    known = Requirements.from_labels(labels)
    if pod.required_terms and not any(term.satisfied_by(labels) for term in pod.required_terms):
        conflict = next(filter(None, (known.conflict(term, ()) for term in pod.required_terms)), None)
        return _mismatch(conflict) if conflict else "labels do not match"
    used = add(*(each.requests for each in snapshot.pods if each.node_name == node.name and not each.terminal))
    lacking = _lacking(pod.requests, subtract(node.allocatable, used))
    if lacking:
        return (
            f"too little left: {', '.join(f'{name} {format_resource(name, pod.requests[name])}' for name in lacking)}"
        )
    return "another pod's or the pod's own constraint (ports, spread, affinity, volumes)"


def _grouped(found: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """``  12  too small: cpu 9   c5.large, c5.xlarge, …``, the largest group first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for reason, name in found:
        groups[reason].append(name)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    width = max((len(str(len(names))) for _, names in ordered), default=0)
    return tuple(f"{len(names):>{width}}  {reason}: {_few(names)}" for reason, names in ordered)


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown}, …"


def _of_machine(subject: str, recording: Recording, claim: Claim, node: Node | None) -> Explanation:
    snapshot = recording.snapshot
    sections = [Section("What it is", tuple(_facts(snapshot, claim, node))), *_choice(snapshot, claim, node)]
    if node is None:
        return Explanation(subject, *_progress(claim), tuple(sections))
    holding = [pod for pod in snapshot.pods if pod.node_name == node.name and holds(pod, snapshot.now)]
    if holding:
        listed = tuple(_holder(pod) for pod in sorted(holding, key=lambda pod: pod.key))
        sections.append(Section(f"Pods that keep it ({len(listed)})", listed))
    return Explanation(subject, *_fate(recording, node), tuple(sections))


_FATES: Final = {KEEP: "it is kept", DELETE: "it can be given back", REPLACE: "it can be replaced"}


def _fate(recording: Recording, node: Node) -> tuple[str, str]:
    """What the controller would decide about it: state and reason."""
    decided = disrupted(recording.snapshot, decide(recording.snapshot, recording.facts), 0.0)
    made = next((each for each in decided if node.name in each.who), None)
    return (
        (str(made.what["code"]), f"{_FATES[made.decision]}: {made.why}") if made else (DELETING, "it is being deleted")
    )


def _progress(claim: Claim) -> tuple[str, str]:
    if claim.deleted_at is not None:
        return "Deleting", "it is being deleted"
    if not claim.launched:
        return "Launching", "its machine has not been launched yet"
    return "Registering", "its machine was launched, and its node has not registered yet"


def _facts(snapshot: Snapshot, claim: Claim, node: Node | None) -> Iterator[str]:
    labels: Mapping[str, str] = {**claim.labels, **(node.labels if node else {})}
    kind, zone, capacity_type = (labels.get(key, "not known yet") for key in (INSTANCE_TYPE, ZONE, CAPACITY_TYPE))
    yield f"{kind} in {zone}, {capacity_type}, of NodePool {claim.pool}"
    price = hourly_costs(snapshot).get(node.name if node else claim.name)
    yield "its price is not known" if price is None else f"${price:.4f} an hour"
    if node is not None and not is_initialized(node, claim):
        yield "it is not initialized yet"


def _choice(snapshot: Snapshot, claim: Claim, node: Node | None) -> Iterator[Section]:
    """What it was bought for, and why no cheaper type was: by the labels that the pods on it ask for, and by room."""
    if not claim.requests:
        return
    asked = ", ".join(f"{name} {format_resource(name, claim.requests[name])}" for name in sorted(claim.requests))
    yield Section("Why it was bought", (f"for pods and daemons that request {asked}",))
    pool = next((each for each in snapshot.pools if each.name == claim.pool), None)
    price = hourly_costs(snapshot).get(node.name if node else claim.name)
    if pool is None or price is None:
        return
    cheaper = [each for each in snapshot.instance_types.get(pool.name, ()) if _cheapest(each) < price]
    here = [pod for pod in snapshot.pods if node is not None and pod.node_name == node.name]
    terms = tuple(dict.fromkeys(pod.required_terms for pod in here if pod.owner_kind != "DaemonSet"))
    requests = subtract(claim.requests, _daemons(snapshot, node))
    found = _by_type(_Asked(requests, terms, "it would do now"), pool, cheaper, snapshot)
    if found:
        yield Section(f"Cheaper instance types ({len(found)})", _grouped(found))


def _cheapest(instance_type: InstanceType) -> float:
    prices = [each.price for each in instance_type.offerings if each.price is not None and each.available]
    return min(prices, default=float("inf"))


def _daemons(snapshot: Snapshot, node: Node | None) -> Resources:
    """A catalogue's room is without daemons already; a claim's requests are with them."""
    if node is None:
        return {}
    labels = node_labels(node)
    here = [daemon for daemon in snapshot.daemonsets if runs_on(daemon, node.taints, labels)]
    return add(*(daemon.pod.requests for daemon in here))


def _holder(pod: Pod) -> str:
    return f"{pod.key} ({pod.owner_kind})" if pod.owner_kind else pod.key
