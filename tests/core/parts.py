"""Parts of clusters, written briefly: ``pod("a", cpu="500m")``, ``machine("small", cpu=2, price=0.1)``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from autonodes.core.labels import CAPACITY_TYPE, INITIALIZED, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.model import (
    Claim,
    DaemonSet,
    InstanceType,
    Node,
    NodePool,
    Offering,
    Pod,
    PodUID,
    Snapshot,
)
from autonodes.core.quantities import parse_resources
from autonodes.core.requirements import Requirements

GPU = "nvidia.com/gpu"


def requirements(*lines: str) -> Requirements:
    """``"zone In a b"``: key, operator and values, separated by spaces."""
    return Requirements.from_list(
        {"key": key, "operator": operator, "values": values} for key, operator, *values in map(str.split, lines)
    )


def amounts(
    cpu: str | int = 0, memory: str | int = 0, gpu: int = 0, pods: int = 0, capacity: bool = False
) -> dict[str, int]:
    named = {"cpu": cpu, "memory": memory, GPU: gpu, "pods": pods}
    parsed = parse_resources(named, capacity=capacity)
    return {name: amount for name, amount in parsed.items() if amount}


def pod(
    name: str, *terms: str | Requirements, cpu: str | int = 0, memory: str | int = 0, gpu: int = 0, **fields: Any
) -> Pod:
    """A pending pod that kube-scheduler has given up on. Several terms are OR-ed."""
    listed = tuple(requirements(term) if isinstance(term, str) else term for term in terms) or (Requirements(),)
    given = {"namespace": "default", "unschedulable": True, "required_terms": listed, **fields}
    return Pod(uid=PodUID(name), name=name, requests=amounts(cpu, memory, gpu, pods=1), **given)


def pods(prefix: str, count: int, *terms: str | Requirements, **fields: Any) -> list[Pod]:
    return [pod(f"{prefix}-{number:03}", *terms, **fields) for number in range(count)]


def running(name: str, node: str, **fields: Any) -> Pod:
    return pod(name, **{"node_name": node, "phase": "Running", "unschedulable": False, **fields})


def machine(
    name: str,
    *lines: str,
    cpu: str | int = 2,
    memory: str | int = "4Gi",
    gpu: int = 0,
    pods: int = 110,
    price: float | None = 0.1,
    zones: Sequence[str] = ("z1",),
    capacity_types: Sequence[str] = ("on-demand",),
    available: bool = True,
) -> InstanceType:
    """No overhead, so that numbers are easy to follow."""
    return InstanceType(
        name=name,
        requirements=requirements(*lines),
        capacity=amounts(cpu, memory, gpu, pods, capacity=True),
        overhead={},
        offerings=tuple(
            Offering(zone=zone, capacity_type=kind, price=price, available=available)
            for zone, kind in itertools.product(zones, capacity_types)
        ),
    )


def pool(name: str = "default", *lines: str, **fields: Any) -> NodePool:
    return NodePool(name=name, requirements=requirements(*lines), **fields)


def daemonset(name: str, *terms: str, **fields: Any) -> DaemonSet:
    inside = pod(name, *terms, **{"owner_kind": "DaemonSet", "unschedulable": False, **fields})
    return DaemonSet(namespace="kube-system", name=name, pod=inside)


def node(name: str, cpu: str | int = 2, memory: str | int = "4Gi", pods: int = 110, **fields: Any) -> Node:
    room = amounts(cpu, memory, pods=pods, capacity=True)
    return Node(name=name, **{"ready": True, "capacity": room, "allocatable": room, **fields})


def claim(name: str, cpu: str | int = 2, memory: str | int = "4Gi", pods: int = 110, **fields: Any) -> Claim:
    """Launched, with labels; its node has not registered."""
    room = amounts(cpu, memory, pods=pods, capacity=True)
    labels = {NODE_POOL: "default", INSTANCE_TYPE: "small", ZONE: "z1", CAPACITY_TYPE: "on-demand"}
    given = {
        "pool": "default",
        "uid": f"uid-{name}",
        "requirements": Requirements(),
        "labels": labels,
        "capacity": room,
        "allocatable": room,
        "launched": True,
    }
    return Claim(name=name, **{**given, **fields})


def ready_node(name: str, **fields: Any) -> tuple[Node, Claim]:
    """An initialized node of pool ``default`` and the claim behind it."""
    labels = {NODE_POOL: "default", INITIALIZED: "true", ZONE: "z1", **fields.pop("labels", {})}
    behind = claim(name, node_name=name, registered=True, initialized=True)
    return node(name, labels=labels, **fields), behind


def snapshot(
    pods: Iterable[Pod] = (),
    *,
    types: Iterable[InstanceType] = (),
    pools: Iterable[NodePool] | None = None,
    nodes: Iterable[Node] = (),
    claims: Iterable[Claim] = (),
    daemonsets: Iterable[DaemonSet] = (),
    now: float = 1000.0,
    **fields: Any,
) -> Snapshot:
    """Every pool sells the same types; without ``pools`` there is one, ``default``."""
    listed = tuple(pools) if pools is not None else (pool(),)
    on_sale = tuple(types)
    return Snapshot(
        now=now,
        pods=tuple(pods),
        nodes=tuple(nodes),
        claims=tuple(claims),
        pools=listed,
        instance_types={each.name: on_sale for each in listed},
        daemonsets=tuple(daemonsets),
        **fields,
    )
