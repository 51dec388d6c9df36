"""Consolidation of a badly used fleet beside Karpenter's: how long decisions take, and what the fleet costs afterwards.

Options: ``--nodes N`` (default 1,000, ten pods each, in 20 pools of 700 types), ``--seed S``; ``--vs karpenter`` runs
upstream's consolidation on the same fleet, too; ``--rounds R`` (default 100) bounds the decisions that are carried out,
and ``--peer-minutes M`` (default 60) the time in which upstream may begin one: ``nothing_left`` says who was done.
The pods are spread over zones in ten groups, and the fleet was bought for more pods than are left. Decisions are made
and carried out on paper until nothing is left to do.

``seconds`` is the processor time in which every node was looked at both ways: the first decision, which looks at nodes
together, and a simulation of each alone; ``candidates`` is how many that were. The peer's is the processor time of its
first decision, and its candidates those that a pass over single nodes got through in its three minutes; it does not
wait 15 seconds to look again at what it has decided. ``fresh_plan_cost`` is what a plan of the same pods for an empty
cluster costs, in dollars an hour.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from autonodes.core.disruption import Circumstances, Command, decide
from autonodes.core.fleet import hourly_costs
from autonodes.core.labels import CAPACITY_TYPE, HOSTNAME, INITIALIZED, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.model import Budget, Claim, Node, Plan, Pod, Purchase, Snapshot
from autonodes.core.planner import plan
from autonodes.core.podterms import PodSelector, Spread
from autonodes.core.quantities import format_resources
from autonodes.core.requirements import Requirements
from autonodes.core.simulation import Simulation
from core.parts import machine, pool, running, snapshot
from tests.benchmarks.planner import ENGINE, PEER, build_peer

ZONES: Final = ("z1", "z2", "z3")
TYPES: Final = 700
POOLS: Final = 20
GROUPS: Final = 10
MAX_SKEW: Final = 5
HOUR: Final = 3600.0

Row = Mapping[str, Any]


def run(arguments: list[str]) -> Iterator[Row]:
    options = argparse.ArgumentParser(prog="hack/bench disruption", description=__doc__)
    options.add_argument("--nodes", type=int, default=1000)
    options.add_argument("--seed", type=int, default=42)
    options.add_argument("--rounds", type=int, default=100)
    options.add_argument("--peer-minutes", type=float, default=60.0)
    options.add_argument("--vs", choices=[PEER])
    given = options.parse_args(arguments)
    fleet = _fleet(given.nodes, random.Random(given.seed))  # noqa: S311 -- a workload, no secret
    fresh = round(plan(replace(fleet, pods=tuple(map(_pending, fleet.pods)), nodes=(), claims=())).cost, 2)
    yield {"engine": ENGINE, "nodes": given.nodes, **_ours(fleet, given.rounds), "fresh_plan_cost": fresh}
    if given.vs:
        yield {
            "engine": PEER,
            "nodes": given.nodes,
            **_peers(fleet, given.rounds, given.peer_minutes),
            "fresh_plan_cost": fresh,
        }


def _ours(fleet: Snapshot, rounds: int) -> Row:
    started = time.process_time()
    with _Watch() as together:
        commands = decide(fleet, Circumstances()).commands
    seconds = time.process_time() - started
    simulation = Simulation(fleet)
    with _Watch() as alone:
        for node in fleet.nodes:
            simulation.without([node.name])
    after, count = fleet, 1
    while commands and count < rounds:
        after = replace(_carried_out(after, commands), now=after.now + HOUR)
        commands = decide(after, Circumstances()).commands
        count += 1
    return {
        "candidates": len(together.nodes & alone.nodes),
        "seconds": round(seconds + sum(alone.seconds), 3),
        "first_decision_s": round(seconds, 3),
        "simulation_ms_p50": round(1000 * statistics.median(alone.seconds), 1),
        "removed": len({node.name for node in fleet.nodes} - {node.name for node in after.nodes}),
        "cost_before": round(sum(hourly_costs(fleet).values()), 2),
        "cost_after": round(sum(hourly_costs(after).values()), 2),
        "rounds": count,
        "nothing_left": not commands,
    }


class _Watch:
    """Sees which nodes are simulated to be gone, and how much processor time each simulation takes."""

    def __init__(self) -> None:
        self.nodes: set[str] = set()
        self.seconds: list[float] = []

    def __enter__(self) -> _Watch:
        without = Simulation.without

        def watched(simulation: Simulation, nodes: Collection[str]) -> Plan:
            started = time.process_time()
            made = without(simulation, nodes)
            self.seconds.append(time.process_time() - started)
            self.nodes.update(nodes)
            return made

        self._patch = patch.object(Simulation, "without", watched)
        self._patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.stop()


def _peers(fleet: Snapshot, rounds: int, minutes: float) -> Row:
    with tempfile.TemporaryDirectory() as directory:
        command = [build_peer(Path(directory)), "consolidate"]
        given = json.dumps({**_as_json(fleet), "rounds": rounds, "minutes": minutes}).encode()
        answer = json.loads(subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True).stdout)
    return {
        "candidates": answer["candidates"],
        "seconds": round(answer["seconds"], 3),
        "first_decision_s": round(answer["seconds"], 3),
        "simulation_ms_p50": round(answer["simulation_ms_p50"], 1),
        "removed": answer["removed"],
        "cost_before": round(answer["cost_before"], 2),
        "cost_after": round(answer["cost_after"], 2),
        "rounds": answer["rounds"],
        "nothing_left": answer["nothing_left"],
    }


def _as_json(fleet: Snapshot) -> Mapping[str, Any]:
    return {
        "pods": list(map(_manifest, fleet.pods)),
        "nodes": [
            {
                "name": node.name,
                "pool": node.labels[NODE_POOL],
                "type": node.labels[INSTANCE_TYPE],
                "zone": node.labels[ZONE],
                "capacityType": node.labels[CAPACITY_TYPE],
            }
            for node in fleet.nodes
        ],
        "pools": [each.name for each in fleet.pools],
        "types": [
            {
                "name": each.name,
                "capacity": format_resources(each.capacity),
                "overhead": {},
                "offerings": [
                    {"zone": place.zone, "capacityType": place.capacity_type, "price": place.price}
                    for place in each.offerings
                ],
            }
            for each in fleet.instance_types[fleet.pools[0].name]
        ],
    }


def _manifest(pod: Pod) -> Mapping[str, Any]:
    requests = format_resources({name: amount for name, amount in pod.requests.items() if name != "pods"})
    spread = {
        "maxSkew": MAX_SKEW,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": dict(pod.labels)},
    }
    return {
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "labels": dict(pod.labels)},
        "spec": {
            "nodeName": pod.node_name,
            "containers": [{"name": "main", "image": "none", "resources": {"requests": requests}}],
            "topologySpreadConstraints": [spread],
        },
        "status": {"phase": "Running"},
    }


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
    pods = [
        _pod(f"{node.name}-{number}", node.name, f"g{number}", draw) for node, _ in owned for number in range(GROUPS)
    ]
    listed = [node for node, _ in owned], [claim for _, claim in owned]
    return snapshot(pods, types=types, pools=pools, nodes=listed[0], claims=listed[1], now=100 * HOUR)


def _pod(name: str, node: str, group: str, draw: random.Random) -> Pod:
    selector = PodSelector(Requirements.from_labels({"app": group}), frozenset(("default",)))
    spread = Spread(key=ZONE, max_skew=MAX_SKEW, selector=selector)
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
