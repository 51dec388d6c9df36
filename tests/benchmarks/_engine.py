"""The planner in a process of its own: pods, types and nodes as JSON on standard input, the answer on standard output.

The same contract as the peer's (`hack/peers/karpenter/main.go`), with ``decode_seconds`` for what the watch caches do
before a plan is made, and ``lower_bound``. With ``repeat`` the snapshot is planned so often, each time with ten other
pods that have changed, as it is with a controller, and the times are the medians. ``deadline`` is the pool's: seconds
that a plan may take to become cheaper.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from autonodes.core.labels import ARCH, CAPACITY_TYPE, INITIALIZED, INSTANCE_TYPE, NODE_POOL, OS, ZONE
from autonodes.core.model import Claim, InstanceType, Node, NodePool, Offering, Plan, Snapshot
from autonodes.core.planner import plan
from autonodes.core.proof import prove
from autonodes.core.quantities import parse_resources
from autonodes.core.requirements import Requirements
from autonodes.kube.decoding import decode_node, decode_pod

POOL = "default"
STIRRED = 10


class Place(msgspec.Struct, rename="camel"):
    zone: str
    capacity_type: str
    price: float


class Type(msgspec.Struct):
    name: str
    capacity: dict[str, str]
    overhead: dict[str, str]
    offerings: list[Place]


class Given(msgspec.Struct):
    types: list[Type]
    pods: list[msgspec.Raw]
    nodes: list[msgspec.Raw] = []
    repeat: int = 1
    deadline: float = 0.0


def main() -> None:
    start = time.perf_counter()
    snapshot, repeat = _snapshot()
    decoded = time.perf_counter() - start
    made, seconds, cpu_seconds = _measured(snapshot, repeat)
    answer = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "decode_seconds": decoded,
        "nodes": len(made.purchases),
        "unplaced": len(made.unplaced),
        "hourly_cost": made.cost,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "lower_bound": prove(snapshot, made).lower_bound,  # last: it is no part of planning
    }
    sys.stdout.buffer.write(msgspec.json.encode(answer))


def _measured(snapshot: Snapshot, repeat: int) -> tuple[Plan, float, float]:
    times, cpu_times = [], []
    for number in range(repeat):
        snapshot = _stirred(snapshot, number) if number else snapshot
        start, cpu_start = time.perf_counter(), time.process_time()
        made = plan(snapshot)
        times.append(time.perf_counter() - start)
        cpu_times.append(time.process_time() - cpu_start)
    return made, statistics.median(times), statistics.median(cpu_times)


def _stirred(snapshot: Snapshot, number: int) -> Snapshot:
    pods = list(snapshot.pods)
    for place in range(number, len(pods), max(1, len(pods) // STIRRED)):
        pods[place] = replace(pods[place], ready=not pods[place].ready)
    return replace(snapshot, pods=tuple(pods))


def _snapshot() -> tuple[Snapshot, int]:
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Given)
    types = {each.name: _instance_type(each) for each in given.types}
    nodes = tuple(decode_node(raw) for raw in given.nodes)
    snapshot = Snapshot(
        now=0.0,
        pods=tuple(decode_pod(raw) for raw in given.pods),
        nodes=nodes,
        claims=_claims(nodes, types),
        pools=(
            NodePool(name=POOL, requirements=Requirements.from_labels({OS: "linux"}), planning_deadline=given.deadline),
        ),
        instance_types={POOL: tuple(types.values())},
    )
    return snapshot, given.repeat


def _instance_type(given: Type) -> InstanceType:
    return InstanceType(
        name=given.name,
        requirements=Requirements.from_labels({ARCH: "amd64", OS: "linux"}),
        capacity=parse_resources(given.capacity, capacity=True),
        overhead=parse_resources(given.overhead),
        offerings=tuple(
            Offering(zone=each.zone, capacity_type=each.capacity_type, price=each.price) for each in given.offerings
        ),
    )


def _claims(nodes: Sequence[Node], types: dict[str, InstanceType]) -> tuple[Claim, ...]:
    """Each node's, of long ago."""
    return tuple(_claim(node, types[node.labels[INSTANCE_TYPE]]) for node in nodes)


def _claim(node: Node, instance_type: InstanceType) -> Claim:
    labels = {key: node.labels[key] for key in (ZONE, CAPACITY_TYPE, INSTANCE_TYPE, NODE_POOL, OS, ARCH)}
    done: dict[str, Any] = dict.fromkeys(("launched", "registered", "initialized"), INITIALIZED in node.labels)
    return Claim(
        name=node.name,
        uid=f"uid-{node.name}",
        pool=POOL,
        requirements=Requirements.from_labels(labels),
        labels=labels,
        capacity=instance_type.capacity,
        allocatable=instance_type.allocatable,
        provider_id=node.provider_id,
        node_name=node.name,
        **done,
    )


if __name__ == "__main__":
    main()
