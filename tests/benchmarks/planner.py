"""The planner on Karpenter's own scheduling benchmark, beside Karpenter's scheduler on the identical pods and types.

Options: ``--pods N[,N…]`` (default 100, 1,000, 5,000, 20,000 and 50,000); ``--vs karpenter`` runs the peer too,
alternating, up to 20,000 pods; ``--rounds N`` (default 1) of each size; ``--workload FILE`` takes pods that were drawn
before (``[{kind, label, sel, cpu_m, mem_mi}, …]``), ``--seed S`` draws others; ``--preferences`` (default 4,000 pods)
takes equal pods that prefer a zone and no company; ``--incremental`` plans for 10 new pods beside 20,000 that run on
2,000 nodes. ``--deadline S`` (default 0: the first answer) lets autonodes look so long for a cheaper plan.

A row is one run of one engine in a process of its own. ``seconds`` is one plan for all pods, decoded before; the peer's
is its scheduler's Solve, set up before, on one worker (its garbage collector may use the other cores: GOMAXPROCS=1
keeps it from that). ``lower_bound`` is dollars an hour below which no plan can be. With a peer, a row of ratios
follows each round; that of CPU times (the peer's garbage collector included) means something on a busy machine too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import _workload as workload

ENGINE: Final = "autonodes"
PEER: Final = "karpenter"
SIZES: Final = (100, 1000, 5000, 20000, 50000)
PEER_MOST: Final = 20000
"""Pods; the peer takes a minute for so many, and grows with the square."""
PREFERENCES: Final = 4000
NODES, PODS_A_NODE, NEW, REPEAT = 2000, 10, 10, 5
_PEER_SOURCE = Path(__file__).parents[2] / "hack" / "peers" / "karpenter"

Commands = Mapping[str, Sequence[str]]


def run(arguments: list[str]) -> Iterator[Mapping[str, Any]]:
    options = argparse.ArgumentParser(prog="hack/bench planner", description=__doc__)
    options.add_argument("--pods", type=lambda text: tuple(map(int, text.split(","))))
    options.add_argument("--vs", choices=[PEER])
    options.add_argument("--rounds", type=int, default=1)
    source = options.add_mutually_exclusive_group()
    source.add_argument("--workload", type=Path)
    source.add_argument("--preferences", action="store_true")
    source.add_argument("--incremental", action="store_true")
    options.add_argument("--seed", type=int, default=42)
    options.add_argument("--deadline", type=float, default=0.0)
    given = options.parse_args(arguments)
    if given.pods and (given.workload or given.incremental):
        options.error("--pods: a workload file and the incremental case have their own number")
    with tempfile.TemporaryDirectory() as directory:
        commands: dict[str, Sequence[str]] = {ENGINE: [sys.executable, "-m", "tests.benchmarks._engine"]}
        if given.incremental:
            yield _incremental(commands[ENGINE], given.seed)
            return
        if given.vs:
            commands[PEER] = [build_peer(Path(directory))]
        for drawn in _workloads(given):
            yield from _rounds(commands, drawn, given)


def _workloads(given: argparse.Namespace) -> Iterator[Sequence[workload.Drawn]]:
    if given.workload:
        yield workload.read(given.workload)
    elif given.preferences:
        yield from (workload.draw_preferences(size, given.seed) for size in given.pods or [PREFERENCES])
    else:
        yield from (workload.draw(size, given.seed) for size in given.pods or SIZES)


def build_peer(directory: Path) -> str:
    """The peer's binary; building it takes seconds, the first time minutes."""
    binary = directory / PEER
    subprocess.run(["go", "build", "-trimpath", "-o", binary, "."], cwd=_PEER_SOURCE, check=True)
    return str(binary)


def _rounds(
    commands: Commands, drawn: Sequence[workload.Drawn], options: argparse.Namespace
) -> Iterator[Mapping[str, Any]]:
    pods = list(workload.manifests(drawn))
    given = json.dumps({"types": workload.instance_types(), "pods": pods, "deadline": options.deadline}).encode()
    for _ in range(options.rounds):
        rows = {
            engine: _row(engine, len(drawn), _answer(command, given))
            for engine, command in commands.items()
            if engine != PEER or len(drawn) <= PEER_MOST
        }
        yield from rows.values()
        if len(rows) > 1:
            yield _ratios(rows[ENGINE], rows[PEER])


def _answer(command: Sequence[str], given: bytes) -> Mapping[str, Any]:
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True)
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def _row(engine: str, pods: int, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "engine": engine,
        "pods": pods,
        "seconds": answer["seconds"],
        "pods_per_second": pods / answer["seconds"],
        "nodes": answer["nodes"],
        "unplaced": answer["unplaced"],
        "hourly_cost": answer["hourly_cost"],
        "lower_bound": answer.get("lower_bound"),
        "peak_rss_mb": answer["peak_rss_mb"],
        "cpu_seconds": answer["cpu_seconds"],
        "decode_seconds": answer.get("decode_seconds"),
    }


def _ratios(ours: Mapping[str, Any], peers: Mapping[str, Any]) -> Mapping[str, Any]:
    bound = ours["lower_bound"]
    return {
        "pods": ours["pods"],
        "speed_ratio": ours["pods_per_second"] / peers["pods_per_second"],
        "cpu_ratio": peers["cpu_seconds"] / ours["cpu_seconds"],
        "cost_ratio": ours["hourly_cost"] / peers["hourly_cost"],
        "cost_to_bound": ours["hourly_cost"] / bound if bound else None,
    }


def _incremental(command: Sequence[str], seed: int) -> Mapping[str, Any]:
    half = workload.draw(NODES * PODS_A_NODE // 2, seed)  # a fifth of them: one anti-affinity pod for each node
    running = [*workload.manifests([*half, *({**pod, "kind": "generic"} for pod in half)], "running")]
    for number, pod in enumerate(running):
        pod["spec"]["nodeName"] = f"node-{number % NODES:04}"
        pod["status"] = {"phase": "Running"}
    new = [*workload.manifests(workload.draw(NEW, seed + 1), "new")]
    given = {
        "types": workload.instance_types(),
        "nodes": [_node(number) for number in range(NODES)],
        "pods": [*running, *new],
        "repeat": REPEAT,
    }
    answer = _answer(command, json.dumps(given).encode())
    return {
        "engine": ENGINE,
        "nodes": NODES,
        "running_pods": len(running),
        "new_pods": NEW,
        "milliseconds": answer["seconds"] * 1000,
        "cpu_milliseconds": answer["cpu_seconds"] * 1000,
        "bought": answer["nodes"],
        "unplaced": answer["unplaced"],
        "peak_rss_mb": answer["peak_rss_mb"],
    }


def _node(number: int) -> dict[str, Any]:
    """One of 16 CPUs: its ten pods take five or six of them, and twelve Gi."""
    zone, capacity_type = workload.OFFERINGS[number % len(workload.OFFERINGS)]
    name, types = f"node-{number:04}", workload.instance_types()
    labels = {
        "karpenter.sh/nodepool": "default",
        "karpenter.sh/capacity-type": capacity_type,
        "karpenter.sh/registered": "true",
        "karpenter.sh/initialized": "true",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": types[15]["name"],
        "topology.kubernetes.io/zone": zone,
    }
    room = {"cpu": "15900m", "memory": f"{32 * 1024 - 10}Mi", "pods": "160"}
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": labels},
        "spec": {"providerID": f"fake:///{name}"},
        "status": {
            "capacity": types[15]["capacity"],
            "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
