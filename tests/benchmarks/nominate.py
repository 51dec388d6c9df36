"""Whether a burst of pods lands as planned, and what the fleet costs then: the real control plane with kwok's nodes.

Options: ``--pods N`` (default 300), ``--seed S`` (default 1) draws their sizes, ``--rounds R`` (default 1) bursts one
after another into a cluster of their own each.

One row a round. ``first_round`` is the share of pods that came to run without a second plan for them, ``as_planned``
that of those on the very node that they were promised first; ``plan_cost`` what the purchases of the plans cost that
placed them first, ``fleet_cost`` what the nodes cost that are there when all run (both in dollars an hour).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autonodes.cli.decisions import read
from autonodes.cli.looking import recorded
from autonodes.core.fleet import hourly_costs
from autonodes.kube.client import KubeClient
from autonodes.kube.resources import DEPLOYMENTS
from cluster import Cluster, kubectl_path, wait_for
from tests.benchmarks._deployments import deployment

NAME = "bench-nominate"
_CPU = (100, 250, 500, 1000, 1500)
_MEMORY = (100, 256, 512, 1024, 2048, 4096)


def run(arguments: list[str]) -> Iterator[Mapping[str, Any]]:
    options = argparse.ArgumentParser(prog="hack/bench nominate", description=__doc__)
    options.add_argument("--pods", type=int, default=300)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--rounds", type=int, default=1)
    given = options.parse_args(arguments)
    for seed in range(given.seed, given.seed + given.rounds):
        with tempfile.TemporaryDirectory(prefix="bench-nominate-") as home:
            cluster = Cluster(name=NAME, home=Path(home), kubectl_path=kubectl_path())
            try:
                up = cluster.autonodes("up", "--name", NAME, "--provider", "kwok")
                if up.returncode:
                    raise SystemExit(up.stdout + up.stderr)
                yield _round(cluster, given.pods, seed)
            finally:
                cluster.autonodes("down", "--name", NAME)


def _round(cluster: Cluster, pods: int, seed: int) -> Mapping[str, Any]:
    chance = random.Random(seed)  # noqa: S311 -- sizes of pods, not secrets
    began = time.monotonic()
    sizes = Counter((chance.choice(_CPU), chance.choice(_MEMORY)) for _ in range(pods))
    asyncio.run(_create(cluster, [_deployment(*size, count) for size, count in sorted(sizes.items())]))
    wait_for("all pods run", lambda: len(_running(cluster)) == pods, seconds=600, cluster=cluster)
    seconds = time.monotonic() - began
    places, plan = _running(cluster), _Plan.of(cluster)
    once = [key for key in places if plan.times.get(key, 0) == 1]
    return {
        "pods": pods,
        "seed": seed,
        "nodes": len(cluster.nodes()),
        "first_round": round(len(once) / pods, 4),
        "as_planned": round(sum(places[key] == plan.first.get(key) for key in places) / pods, 4),
        "plan_cost": round(plan.cost, 4),
        "fleet_cost": round(_fleet_cost(cluster), 4),
        "running_s": round(seconds, 1),
    }


async def _create(cluster: Cluster, bodies: Iterable[Mapping[str, Any]]) -> None:
    """All at once, and without kubectl's pace."""
    async with KubeClient.from_kubeconfig(cluster.kubeconfig, user_agent=NAME) as client:
        await asyncio.gather(*(client.create(DEPLOYMENTS, body, "default") for body in bodies))


@dataclass
class _Plan:
    """:param first: pod → the node or claim that it was promised first
    :param times: pod → plans that found it a place
    :param cost: of the claims that are somebody's first
    """

    first: dict[str, str] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    cost: float = 0.0

    @classmethod
    def of(cls, cluster: Cluster) -> _Plan:
        plan = cls()
        for entry in read(cluster.home / cluster.name / "decisions.jsonl"):
            told = json.loads(entry.line)
            if told["decision"] == "buy":
                claim = next(name for name in entry.names if name not in told["who"])
                plan._placed(told["who"], claim, told["what"]["pricePerHour"])
            elif told["decision"] == "place":
                plan._placed(told["who"], told["what"]["node"], 0.0)
        return plan

    def _placed(self, pods: list[str], target: str, price: float) -> None:
        new = [key for key in pods if key not in self.first]
        moved = [key for key in pods if self.first.get(key, target) != target]
        self.first.update(dict.fromkeys(new, target))
        self.times.update({key: self.times.get(key, 0) + 1 for key in (*new, *moved)})
        self.cost += price if new else 0.0


def _running(cluster: Cluster) -> dict[str, str]:
    """Pod → its node."""
    pods = cluster.get("pods", "-n", "default")["items"]
    return {
        f"default/{pod['metadata']['name']}": pod["spec"]["nodeName"]
        for pod in pods
        if pod["status"]["phase"] == "Running"
    }


def _fleet_cost(cluster: Cluster) -> float:
    path = cluster.home / "snapshot.json"
    done = cluster.autonodes("record", "--name", cluster.name, "-o", str(path))
    if done.returncode:
        raise SystemExit(done.stderr)
    return sum(hourly_costs(recorded(path).snapshot).values())


def _deployment(cpu: int, memory: int, replicas: int) -> dict[str, Any]:
    return deployment(f"burst-{cpu}-{memory}", {"cpu": f"{cpu}m", "memory": f"{memory}Mi"}, replicas)
