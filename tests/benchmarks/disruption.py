"""Consolidation of a badly used fleet: how long decisions take, and what the fleet costs afterwards.

Options: ``--nodes N`` (default 1,000, ten pods each), ``--seed S``. The pods are spread over zones in ten groups; the
fleet was bought for more pods than are left. Decisions are made and carried out on paper until nothing is saved any
more, at most ``--rounds R`` (default 40) times. ``seconds`` is the processor time of the first decision, which looks at
every candidate; ``fresh_plan_cost`` is what a plan of the same pods for an empty cluster costs, in dollars an hour.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from autonodes.core.disruption import Circumstances, Command, decide
from autonodes.core.fleet import hourly_costs
from autonodes.core.labels import CAPACITY_TYPE, HOSTNAME, INITIALIZED, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.model import Budget, Claim, Node, Pod, Purchase, Snapshot
from autonodes.core.planner import plan
from autonodes.core.podterms import PodSelector, Spread
from autonodes.core.requirements import Requirements
from autonodes.core.simulation import Simulation
from core.parts import machine, pool, running, snapshot

T = TypeVar("T")

ZONES: Final = ("z1", "z2", "z3")
TYPES: Final = 700
POOLS: Final = 20
GROUPS: Final = 10
HOUR: Final = 3600.0
_SAMPLES: Final = 9


def run(arguments: list[str]) -> Iterator[Mapping[str, Any]]:
    options = argparse.ArgumentParser(prog="hack/bench disruption", description=__doc__)
    options.add_argument("--nodes", type=int, default=1000)
    options.add_argument("--seed", type=int, default=42)
    options.add_argument("--rounds", type=int, default=40)
    given = options.parse_args(arguments)
    fleet = _fleet(given.nodes, random.Random(given.seed))  # noqa: S311 -- a workload, no secret
    first, seconds = _timed(lambda: decide(fleet, Circumstances()))
    simulation = Simulation(fleet)
    samples = [_timed(lambda: simulation.without([node.name]))[1] for node in fleet.nodes[:_SAMPLES]]  # noqa: B023
    after, commands = fleet, first.commands
    for _ in range(given.rounds):
        if not commands:
            break
        after = replace(_carried_out(after, commands), now=after.now + HOUR)
        commands = decide(after, Circumstances()).commands
    pending = tuple(map(_pending, fleet.pods))
    yield {
        "engine": "autonodes",
        "nodes": given.nodes,
        "candidates": given.nodes,
        "seconds": round(seconds, 3),
        "simulation_ms_p50": round(1000 * statistics.median(samples), 1),
        "removed": len({node.name for node in fleet.nodes} - {node.name for node in after.nodes}),
        "cost_before": round(sum(hourly_costs(fleet).values()), 2),
        "cost_after": round(sum(hourly_costs(after).values()), 2),
        "fresh_plan_cost": round(plan(replace(fleet, pods=pending, nodes=(), claims=())).cost, 2),
    }


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    started = time.process_time()
    return work(), time.process_time() - started


def _fleet(nodes: int, draw: random.Random) -> Snapshot:
    types = tuple(
        machine(
            f"t{number:03}",
            cpu=2 * (1 + number % 16),
            memory=f"{4 * (1 + number % 16)}Gi",
            price=round(0.05 * (1 + number % 16) * (1 + number / TYPES / 2), 4),
            zones=ZONES,
        )
        for number in range(TYPES)
    )
    pools = [
        pool(f"pool-{number:02}", consolidate_after=0.0, budgets=(Budget(nodes="100%"),)) for number in range(POOLS)
    ]
    owned = [_node(f"n{number:04}", pools[number % POOLS].name, types[3], ZONES[number % 3]) for number in range(nodes)]
    pods = [_pod(f"{name}-{number}", name, draw) for name in (node.name for node, _ in owned) for number in range(10)]
    listed = [node for node, _ in owned], [claim for _, claim in owned]
    return snapshot(pods, types=types, pools=pools, nodes=listed[0], claims=listed[1], now=100 * HOUR)


def _pod(name: str, node: str, draw: random.Random) -> Pod:
    group = f"g{draw.randrange(GROUPS)}"
    selector = PodSelector(Requirements.from_labels({"app": group}), frozenset(("default",)))
    spread = Spread(key=ZONE, max_skew=10_000, selector=selector)
    return running(name, node, cpu=draw.choice(["100m", "250m", "500m"]), labels={"app": group}, spread=(spread,))


def _node(name: str, of_pool: str, kind: Any, zone: str) -> tuple[Node, Claim]:
    labels = {NODE_POOL: of_pool, INSTANCE_TYPE: kind.name, ZONE: zone, CAPACITY_TYPE: "on-demand", HOSTNAME: name}
    room = kind.allocatable
    node = Node(name=name, labels={**labels, INITIALIZED: "true"}, capacity=room, allocatable=room, ready=True)
    claim = Claim(
        name=name, uid=f"uid-{name}", pool=of_pool, requirements=Requirements(), labels=labels, capacity=room,
        allocatable=room, node_name=name, launched=True, registered=True, initialized=True,
    )  # fmt: skip
    return node, claim


def _pending(pod: Pod) -> Pod:
    return replace(pod, node_name="", phase="Pending", unschedulable=True)


def _carried_out(fleet: Snapshot, commands: tuple[Command, ...]) -> Snapshot:
    """The fleet with the nodes gone and their pods where the planner puts them."""
    gone = frozenset(name for command in commands for name in command.candidates)
    pods = tuple(_pending(pod) if pod.node_name in gone else pod for pod in fleet.pods)
    nodes = tuple(node for node in fleet.nodes if node.name not in gone)
    claims = tuple(claim for claim in fleet.claims if claim.name not in gone)
    left = replace(fleet, pods=pods, nodes=nodes, claims=claims)
    made = plan(left)
    homes: dict[str, str] = dict(made.placements)
    new = []
    for number, purchase in enumerate(made.purchases):
        name = f"r{int(fleet.now)}-{number:04}"
        homes.update(dict.fromkeys(purchase.pods, name))
        new.append(_bought(name, purchase, fleet))
    settled = tuple(
        replace(pod, node_name=homes[pod.uid], phase="Running", unschedulable=False) if pod.uid in homes else pod
        for pod in pods
    )
    return replace(
        left,
        pods=settled,
        nodes=(*nodes, *(node for node, _ in new)),
        claims=(*claims, *(claim for _, claim in new)),
    )


def _bought(name: str, purchase: Purchase, fleet: Snapshot) -> tuple[Node, Claim]:
    kind, zone, _, _ = purchase.candidates[0]
    found = next(each for each in fleet.instance_types[purchase.pool] if each.name == kind)
    return _node(name, purchase.pool, found, zone)
