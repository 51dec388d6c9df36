"""The judge of plans: every constraint, one pod and one machine at a time, with none of the planner's tricks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from autonodes.core.daemons import may_run_on
from autonodes.core.hostports import conflict
from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE, NODE_POOL, WELL_KNOWN, ZONE
from autonodes.core.model import (
    Claim,
    DaemonSet,
    HostPort,
    InstanceType,
    NodePool,
    Offering,
    Plan,
    Pod,
    Purchase,
    Snapshot,
)
from autonodes.core.requirements import Requirements
from autonodes.core.resources import add, fits, greatest, subtract
from autonodes.core.shapes import is_expendable, is_planned
from autonodes.core.taints import untolerated


def violations(snapshot: Snapshot, plan: Plan) -> list[str]:
    """What is wrong with a plan; empty if nothing is."""
    return [*_accounting(snapshot, plan), *_purchases(snapshot, plan), *_limits(snapshot, plan), *_left(snapshot, plan)]


def _accounting(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    wanted = {pod.uid for pod in snapshot.pods if is_planned(pod)}
    fates = Counter([*plan.placements, *plan.unplaced, *(uid for each in plan.purchases for uid in each.pods)])
    yield from (f"pod {uid} has {count} fates" for uid, count in fates.items() if count > 1)
    yield from (f"pod {uid} has no fate" for uid in wanted - set(fates))
    yield from (f"pod {uid} was not to be planned" for uid in set(fates) - wanted)


def _purchases(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    pods = {pod.uid: pod for pod in snapshot.pods}
    for number, purchase in enumerate(plan.purchases):
        on_it = [pods[uid] for uid in purchase.pods]
        if all(is_expendable(pod) for pod in on_it):
            yield f"purchase {number} is for expendable pods only"
        prices = [price for *_, price in purchase.candidates]
        if prices != sorted(prices) or len({name for name, *_ in purchase.candidates}) > 60:
            yield f"purchase {number}: candidates {purchase.candidates}"
        for candidate in purchase.candidates:
            if not any(_is(candidate, *combination) for combination in _combinations(snapshot, purchase)):
                yield f"purchase {number}: the claim does not allow its candidate {candidate}"
        for instance_type, offering in _combinations(snapshot, purchase):
            fault = _unfit(snapshot, purchase, on_it, instance_type, offering)
            if fault:
                yield f"purchase {number} on {instance_type.name} {offering}: {fault}"
        yield from _unbuyable(snapshot, purchase)
        yield from _too_little_choice(snapshot, purchase)


def _combinations(snapshot: Snapshot, purchase: Purchase) -> Iterator[tuple[InstanceType, Offering]]:
    """All that the provider may launch for the claim."""
    for instance_type in snapshot.instance_types[purchase.pool]:
        for offering in instance_type.offerings:
            known = machine_labels(_pool(snapshot, purchase.pool), instance_type, offering)
            if known is not None and (known & purchase.requirements).contradiction() is None:
                yield instance_type, offering


def _is(candidate: tuple[str, str, str, float], instance_type: InstanceType, offering: Offering) -> bool:
    return candidate == (instance_type.name, offering.zone, offering.capacity_type, offering.price)


def _unbuyable(snapshot: Snapshot, purchase: Purchase) -> Iterator[str]:
    if not _pool(snapshot, purchase.pool).ready:
        yield f"pool {purchase.pool} is not ready"
    for name, zone, capacity_type, price in purchase.candidates:
        offerings = next(t for t in snapshot.instance_types[purchase.pool] if t.name == name).offerings
        if not any(
            (o.zone, o.capacity_type, o.price, o.available) == (zone, capacity_type, price, True) for o in offerings
        ):
            yield f"{name} in {zone} as {capacity_type} can't be bought at {price}"


def _too_little_choice(snapshot: Snapshot, purchase: Purchase) -> Iterator[str]:
    """``minValues``: of all that may be launched for the claim, the labels must have so many values."""
    for key, asked in _pool(snapshot, purchase.pool).requirements.items():
        least, values = asked.min_values, set[str]()
        for name, zone, capacity_type, _ in purchase.candidates:
            machine = next(each for each in snapshot.instance_types[purchase.pool] if each.name == name)
            offering = Offering(zone=zone, capacity_type=capacity_type, price=None)
            known = machine_labels(_pool(snapshot, purchase.pool), machine, offering)
            values |= known.allowed(key).values if known is not None else frozenset()
        if least is None or len(values) >= least:
            if any(text.startswith(f"{key}:") for text in purchase.relaxed):
                yield f"{purchase.pool}: {purchase.relaxed}, though there are {len(values)}"
        elif snapshot.min_values_policy == "Strict" or not any(text.startswith(f"{key}:") for text in purchase.relaxed):
            yield f"{purchase.pool}: {len(values)} values of {key}, minValues are {least}: {purchase.candidates}"


def machine_labels(pool: NodePool, instance_type: InstanceType, offering: Offering) -> Requirements | None:
    own = {
        NODE_POOL: pool.name,
        INSTANCE_TYPE: instance_type.name,
        ZONE: offering.zone,
        CAPACITY_TYPE: offering.capacity_type,
    }
    known = pool.requirements & instance_type.requirements & Requirements.from_labels(own)
    return None if known.contradiction() else known


def _unfit(
    snapshot: Snapshot, purchase: Purchase, pods: list[Pod], instance_type: InstanceType, offering: Offering
) -> str:
    pool = _pool(snapshot, purchase.pool)
    labels = machine_labels(pool, instance_type, offering)
    assert labels is not None
    known = labels & purchase.requirements
    for pod in pods:
        if untolerated(pool.taints, pod.tolerations):
            return f"{pod.name} does not tolerate"
        if pod.required_terms and not any(known.subset_of(term) for term in pod.required_terms):
            return f"{pod.name} wants {pod.required_terms}, has {known}"
    daemons = [each for each in snapshot.daemonsets if may_run_on(each, pool.taints, known, WELL_KNOWN)]
    everything = [*pods, *(daemon.pod for daemon in daemons)]
    load = add(*(pod.requests for pod in everything))
    if not fits(load, instance_type.allocatable):
        return f"{load} does not fit into {instance_type.allocatable}"
    return clash(pods, daemons)


def clash(pods: Iterable[Pod], daemons: Iterable[DaemonSet] = (), taken: Iterable[HostPort] = ()) -> str:
    """Host ports of pods that clash with each other's, a daemon's or others that are taken."""
    daemon_ports = [port for daemon in daemons for port in daemon.pod.host_ports]
    listed = [pod.host_ports for pod in pods]
    for mine in listed:
        if any(conflict(port, other) for port in mine for other in (*daemon_ports, *taken)):
            return "host port of a daemon or of what runs there"
    for mine, theirs in combinations(listed, 2):
        if any(conflict(port, other) for port in mine for other in theirs):
            return "host ports clash"
    return ""


def _limits(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    for pool in snapshot.pools:
        spent = [claim.capacity for claim in snapshot.claims if claim.pool == pool.name]
        bought = [_largest(snapshot, each) for each in plan.purchases if each.pool == pool.name]
        total = add(*spent, *bought)
        total["nodes"] = len(spent) + len(bought)
        for name, limit in pool.limits.items():
            if bought and total.get(name, 0) > limit and any(each.get(name, 0) for each in [*bought, {"nodes": 1}]):
                touching = sum(each.get(name, 0) for each in bought) if name != "nodes" else len(bought)
                if touching:
                    yield f"limit of {pool.name}: {name} {total.get(name, 0)} > {limit}"


def _largest(snapshot: Snapshot, purchase: Purchase) -> Mapping[str, int]:
    return greatest(instance_type.capacity for instance_type, _ in _combinations(snapshot, purchase))


def _left(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """A pod that is left over must not fit anywhere by itself, where no limit is in the way."""
    pods = {pod.uid: pod for pod in snapshot.pods}
    for uid, reasons in plan.unplaced.items():
        if not reasons:
            yield f"pod {uid} is left without a reason"
        if pods[uid].fault or is_expendable(pods[uid]) or _minds_others(snapshot, pods[uid]):
            continue
        for pool in snapshot.pools:
            if pool.ready and not pool.limits and _could_hold(snapshot, pool, pods[uid]):
                yield f"pod {uid} is left, but {pool.name} could hold it: {reasons}"


def _minds_others(snapshot: Snapshot, pod: Pod) -> bool:
    """It may be left because of other pods, and not because no machine would do."""
    return bool(pod.spread or pod.near or pod.apart) or any(
        term.selector.selects(pod.namespace, pod.labels, snapshot.namespaces)
        for other in snapshot.pods
        for term in other.apart
    )


def _could_hold(snapshot: Snapshot, pool: NodePool, pod: Pod) -> bool:
    if untolerated(pool.taints, pod.tolerations):
        return False
    for instance_type in snapshot.instance_types.get(pool.name, ()):
        for offering in instance_type.offerings:
            known = machine_labels(pool, instance_type, offering)
            if known is None or not offering.available or offering.price is None:
                continue
            if pod.required_terms and not any(known.compatible(term) for term in pod.required_terms):
                continue
            daemons = [d for d in snapshot.daemonsets if may_run_on(d, pool.taints, known, WELL_KNOWN)]
            if snapshot.min_values_policy == "Strict" and any(each.min_values for each in pool.requirements.values()):
                continue  # it may hold the pod, but leave too little choice
            room = subtract(instance_type.allocatable, add(*(daemon.pod.requests for daemon in daemons)))
            if min(room.values()) >= 0 and fits(pod.requests, room) and not clash([pod], daemons):
                return True
    return False


def _pool(snapshot: Snapshot, name: str) -> NodePool:
    return next(pool for pool in snapshot.pools if pool.name == name)


def placed(snapshot: Snapshot, plan: Plan) -> Mapping[str, list[Pod]]:
    """By node or claim: the pods that the plan puts there."""
    pods = {pod.uid: pod for pod in snapshot.pods}
    there: dict[str, list[Pod]] = defaultdict(list)
    for uid, name in plan.placements.items():
        there[name].append(pods[uid])
    return there


def node_violations(snapshot: Snapshot, plan: Plan) -> list[str]:
    """Placements on initialized nodes that kube-scheduler would refuse."""
    wrong = []
    for node in snapshot.nodes:
        arriving = placed(snapshot, plan).get(node.name, [])
        running = [pod for pod in snapshot.pods if pod.node_name == node.name]
        wanted = add(*(pod.requests for pod in arriving))
        load = add(wanted, *(pod.requests for pod in running))
        if not fits({name: load[name] for name in wanted}, node.allocatable):
            wrong.append(f"{node.name} is over capacity")
        if clash(arriving, taken=[port for pod in running for port in pod.host_ports]):
            wrong.append(f"{node.name}: host ports")
        for pod in arriving:
            if untolerated(node.taints, pod.tolerations) or node.unschedulable or node.deleted_at is not None:
                wrong.append(f"{node.name} repels {pod.name}")
            if pod.required_terms and not any(term.satisfied_by(node.labels) for term in pod.required_terms):
                wrong.append(f"{node.name} does not suit {pod.name}")
    return wrong


def as_claims(snapshot: Snapshot, plan: Plan) -> tuple[tuple[Claim, ...], dict[str, str]]:
    """The plan carried out: its claims, not launched yet, and which pod was promised to which."""
    claims, promises = [], {}
    for number, purchase in enumerate(plan.purchases):
        pool = _pool(snapshot, purchase.pool)
        name = f"{pool.name}-{number:03}"
        claims.append(
            Claim(
                name=name,
                uid=f"uid-{name}",
                pool=pool.name,
                requirements=purchase.requirements,
                labels=dict(pool.labels),
                taints=pool.taints,
                startup_taints=pool.startup_taints,
                requests=purchase.requests,
            )
        )
        promises.update(dict.fromkeys(purchase.pods, name))
    return tuple(claims), promises
