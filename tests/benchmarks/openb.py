"""The planner on the OpenB GPU trace and EC2's types and prices: the first answer, the improved one, and the bound.

Options: ``--trace FILE`` takes the trace itself (``openb_pod_list_default.csv`` of Alibaba's cluster-trace-gpu-v2023);
without it pods are drawn whose sizes are distributed as there (``--pods N``, default 8,152; ``--seed S``).
``--deadline S`` (default 10) is the pool's planning deadline, ``--region R`` the prices' region.

A pod's GPUs are counted in thousandths, as the trace has them: a machine shows a thousand for each of its GPUs, and
only the sum on a node counts, as with a device plugin that shares them. All pods wait at once, and any GPU will do.

``first_answer_s`` is the plan without improvement, ``seconds`` the one with it, from the start; the bound is worked out
apart. ``gap`` is the cost over the bound, less 1.
"""

from __future__ import annotations

import argparse
import csv
import random
import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from autonodes.cli.catalogs import open_catalogue
from autonodes.core.model import InstanceType, NodePool, Plan, Pod, PodUID, Snapshot
from autonodes.core.planner import plan
from autonodes.core.proof import prove
from autonodes.core.sharing import GPU

SHARED: Final = f"{GPU}.shared"
PODS: Final = 8152
_MIB: Final = 2**20

Size = tuple[int, int, int]
"""Millicores, MiB, thousandths of GPUs."""

COMMON: Final[Mapping[Size, int]] = {
    (3152, 5600, 810): 1047,
    (11300, 49152, 1000): 857,
    (11400, 48128, 1000): 534,
    (3152, 5600, 1000): 470,
    (11908, 47104, 470): 388,
    (12500, 57344, 0): 364,
    (8000, 30517, 470): 360,
    (32000, 49152, 0): 284,
    (18708, 64512, 1000): 255,
    (11908, 47104, 650): 237,
    (9810, 41560, 1000): 195,
    (8000, 30517, 0): 163,
    (12000, 24576, 1000): 158,
    (15700, 58368, 1000): 158,
    (11908, 47104, 1000): 153,
    (15400, 51200, 0): 120,
    (4000, 22888, 320): 111,
    (16000, 32768, 1000): 108,
    (8000, 16384, 1000): 104,
    (4000, 24576, 1000): 104,
    (12000, 16384, 1000): 99,
    (16500, 51200, 0): 95,
    (14200, 58368, 1000): 93,
    (4000, 30517, 230): 84,
    (24200, 93184, 1000): 84,
    (4000, 15258, 320): 78,
    (3152, 5600, 590): 75,
    (8000, 30517, 320): 72,
    (4152, 10600, 550): 72,
    (11400, 77824, 1000): 65,
    (8000, 32768, 1000): 55,
    (4000, 15258, 160): 53,
    (6000, 6144, 460): 51,
    (11900, 77824, 1000): 51,
    (4152, 10600, 370): 45,
    (12000, 15360, 1000): 44,
    (4000, 30517, 320): 43,
    (8200, 33792, 1000): 41,
    (4000, 31250, 1000): 40,
    (15200, 80896, 1000): 36,
}
"""The trace's sizes and how many pods have each, the commonest."""


def run(arguments: list[str]) -> Iterator[Mapping[str, Any]]:
    options = argparse.ArgumentParser(prog="hack/bench openb", description=__doc__)
    options.add_argument("--trace", type=Path)
    options.add_argument("--pods", type=int, default=PODS)
    options.add_argument("--seed", type=int, default=42)
    options.add_argument("--deadline", type=float, default=10.0)
    options.add_argument("--region", default="us-east-1")
    given = options.parse_args(arguments)
    sizes = _read(given.trace) if given.trace else _draw(given.pods, given.seed)
    snapshot = _snapshot(sizes, given.region)
    first, first_seconds, first_cpu_seconds = _timed(snapshot)
    patient = replace(snapshot.pools[0], planning_deadline=given.deadline)
    found, seconds, cpu_seconds = _timed(replace(snapshot, pools=(patient,)))
    proof = prove(snapshot, found)
    yield {
        "engine": "autonodes",
        "pods": len(sizes),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "first_answer_s": first_seconds,
        "first_answer_cpu_s": first_cpu_seconds,
        "pods_per_second": len(sizes) / seconds,
        "nodes": len(found.purchases),
        "unplaced": len(found.unplaced),
        "hourly_cost": found.cost,
        "first_hourly_cost": first.cost,
        "lower_bound": proof.lower_bound,
        "gap": proof.gap,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def _timed(snapshot: Snapshot) -> tuple[Plan, float, float]:
    """The plan, and the seconds that it took: of a clock, and of a core."""
    start, cpu_start = time.perf_counter(), time.process_time()
    return plan(snapshot), time.perf_counter() - start, time.process_time() - cpu_start


def _read(trace: Path) -> list[Size]:
    with trace.open(newline="") as file:
        return [
            (int(row["cpu_milli"]), int(row["memory_mib"]), int(row["num_gpu"]) * int(row["gpu_milli"]))
            for row in csv.DictReader(file)
        ]


def _draw(count: int, seed: int) -> list[Size]:
    chance = random.Random(seed)  # noqa: S311 -- a workload, not a secret
    return chance.choices(list(COMMON), weights=list(COMMON.values()), k=count)


def _snapshot(sizes: list[Size], region: str) -> Snapshot:
    catalogue = open_catalogue(f"ec2:{region}")
    pool = NodePool(name="default", requirements=catalogue.default_pool)
    return Snapshot(
        now=0.0,
        pods=tuple(_pod(number, size) for number, size in enumerate(sizes)),
        nodes=(),
        claims=(),
        pools=(pool,),
        instance_types={pool.name: tuple(map(_shared, catalogue.types))},
    )


def _pod(number: int, size: Size) -> Pod:
    cpu, memory, gpu = size
    requests = {"cpu": cpu, "memory": memory * _MIB, SHARED: gpu, "pods": 1}
    return Pod(
        uid=PodUID(str(number)),
        namespace="openb",
        name=f"pod-{number:05}",
        requests={name: amount for name, amount in requests.items() if amount},
        unschedulable=True,
    )


def _shared(instance_type: InstanceType) -> InstanceType:
    gpus = instance_type.capacity.get(GPU, 0)
    others = {name: amount for name, amount in instance_type.capacity.items() if name != GPU}
    return replace(instance_type, capacity={**others, SHARED: gpus * 1000}) if gpus else instance_type
