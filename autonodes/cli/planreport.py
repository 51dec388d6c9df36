"""A plan as plain data, the same for every form of output; its keys are an interface.

Prices are dollars an hour; a month has 730 of them. ``requests`` and ``allocatable`` are in Kubernetes' notation,
``requests`` with the daemons that come to the node.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from autonodes.cli.inputs import Inputs
from autonodes.core.errors import AutonodesError
from autonodes.core.model import InstanceType, Plan, PodUID, Purchase, Reason, Resources
from autonodes.core.money import HOURS_A_MONTH
from autonodes.core.narration import by_reasons
from autonodes.core.proof import Proof, RunnerUp
from autonodes.core.quantities import format_resources
from autonodes.core.resources import subtract

_DIGITS: Final = 6


@dataclass(frozen=True)
class PlannedNode:
    """:param workloads: name → the pods of it, in the order of the first
    :param loads: workload → what its pods request together
    :param overhead: what daemons take
    """

    pool: str
    instance_type: str
    zone: str
    capacity_type: str
    price: float
    pods: tuple[str, ...]
    workloads: Mapping[str, int]
    loads: Mapping[str, Resources]
    overhead: Resources
    allocatable: Resources
    requests: Resources
    runner_up: RunnerUp | None

    def used(self, resource: str) -> float:
        """The share of the allocatable that is requested; 0 where there is nothing."""
        total = self.allocatable.get(resource, 0)
        return self.requests.get(resource, 0) / total if total else 0.0


@dataclass(frozen=True)
class Report:
    """:param proof: what any plan would cost at least
    :param nodes: to buy
    :param existing: name of a node that is there, or of a claim in flight → pods that will go there
    :param unplaced: reasons and the pods that they keep from having a node
    :param faults: what was left out
    :param passed_over: kinds that planning has no use for
    :param notes: what was taken to be so although nothing says it
    """

    catalogue: str
    proof: Proof
    nodes: Sequence[PlannedNode]
    existing: Mapping[str, Sequence[str]]
    unplaced: Sequence[tuple[tuple[Reason, ...], Sequence[str]]]
    faults: Sequence[AutonodesError]
    passed_over: Sequence[str]
    pods: int
    notes: Sequence[str] = ()

    @property
    def cost(self) -> float:
        return sum(node.price for node in self.nodes)

    @property
    def left(self) -> int:
        """Pods without a node."""
        return sum(len(pods) for _, pods in self.unplaced)

    def as_json(self) -> dict[str, Any]:
        summary = {
            "pods": self.pods,
            "placed": self.pods - self.left,
            "unplaced": self.left,
            "nodes": len(self.nodes),
            "costPerHour": round(self.cost, _DIGITS),
            "costPerMonth": round(self.cost * HOURS_A_MONTH, 2),
            "lowerBoundPerHour": round(self.proof.lower_bound, _DIGITS),
            "gap": round(self.proof.gap, _DIGITS),
        }
        return {
            "apiVersion": "autonodes.io/v1alpha1",
            "kind": "Plan",
            "catalog": self.catalogue,
            "summary": summary,
            "boundModels": list(self.proof.models),
            "nodes": [_node(node) for node in self.nodes],
            "existingNodes": [{"name": name, "pods": list(pods)} for name, pods in self.existing.items()],
            "unplaced": [
                {
                    "pods": list(pods),
                    "reasons": [{"nodePool": each.pool, "code": each.code, "text": each.text} for each in reasons],
                }
                for reasons, pods in self.unplaced
            ],
            "faults": [str(fault) for fault in self.faults],
            "notes": list(self.notes),
            "passedOver": list(self.passed_over),
        }


def report(inputs: Inputs, plan: Plan, proof: Proof, catalogue: str) -> Report:
    pods = {pod.uid: pod for pod in inputs.snapshot.pods}
    types = {(pool, each.name): each for pool, listed in inputs.snapshot.instance_types.items() for each in listed}
    requests = {uid: pod.requests for uid, pod in pods.items()}
    names = {uid: pod.key for uid, pod in pods.items()}
    existing: dict[str, list[str]] = defaultdict(list)
    for uid, target in sorted(plan.placements.items(), key=lambda item: (item[1], names[item[0]])):
        existing[target].append(names[uid])
    return Report(
        catalogue=catalogue,
        proof=proof,
        nodes=[
            _planned(each, second, types, names, requests, inputs.workloads)
            for each, second in zip(plan.purchases, proof.runners_up, strict=True)
        ],
        existing=existing,
        unplaced=[(reasons, [names[uid] for uid in uids]) for reasons, uids in by_reasons(plan.unplaced).items()],
        faults=inputs.faults,
        passed_over=inputs.passed_over,
        notes=inputs.notes,
        pods=len(plan.placements) + len(plan.unplaced) + sum(len(each.pods) for each in plan.purchases),
    )


def _planned(
    purchase: Purchase,
    second: RunnerUp | None,
    types: Mapping[tuple[str, str], InstanceType],
    names: Mapping[PodUID, str],
    requests: Mapping[PodUID, Resources],
    workloads: Mapping[PodUID, str],
) -> PlannedNode:
    name, zone, capacity_type, price = purchase.candidates[0]
    loads = _loads(purchase.pods, requests, workloads)
    return PlannedNode(
        pool=purchase.pool,
        instance_type=name,
        zone=zone,
        capacity_type=capacity_type,
        price=price,
        pods=tuple(names[uid] for uid in purchase.pods),
        workloads=Counter(workloads[uid] for uid in purchase.pods),
        loads=loads,
        overhead=_rest(purchase.requests, loads.values()),
        allocatable=types[purchase.pool, name].allocatable,
        requests=purchase.requests,
        runner_up=second,
    )


def _loads(
    pods: Iterable[PodUID], requests: Mapping[PodUID, Resources], workloads: Mapping[PodUID, str]
) -> dict[str, Resources]:
    loads: dict[str, dict[str, int]] = {}
    for uid in pods:
        load = loads.setdefault(workloads[uid], {})
        for name, amount in requests[uid].items():
            load[name] = load.get(name, 0) + amount
    return dict(loads)


def _rest(total: Resources, parts: Iterable[Resources]) -> Resources:
    rest = dict(total)
    for part in parts:
        rest = subtract(rest, part)
    return {name: amount for name, amount in rest.items() if amount > 0}


def _node(node: PlannedNode) -> dict[str, Any]:
    return {
        "nodePool": node.pool,
        "instanceType": node.instance_type,
        "zone": node.zone,
        "capacityType": node.capacity_type,
        "pricePerHour": round(node.price, _DIGITS),
        "allocatable": format_resources(node.allocatable),
        "requests": format_resources(node.requests),
        "pods": list(node.pods),
        "workloads": dict(node.workloads),
        "runnerUp": _runner_up(node),
    }


def _runner_up(node: PlannedNode) -> dict[str, Any] | None:
    if node.runner_up is None:
        return None
    price = node.runner_up.price
    return {
        "instanceType": node.runner_up.instance_type,
        "pricePerHour": None if price is None else round(price, _DIGITS),
        "why": node.runner_up.why,
    }
