"""A pod that waits to its new local node Ready and to Running, one at a time and five at once.

Options: ``--rounds N`` (default 10). One row a round, then one for five at once, then one of medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster import Cluster, kubectl_path, wait_for

FIVE = 5


def run(arguments: list[str]) -> Iterator[Mapping[str, Any]]:
    options = argparse.ArgumentParser(prog="hack/bench node", description=__doc__)
    options.add_argument("--rounds", type=int, default=10)
    rounds = options.parse_args(arguments).rounds
    with tempfile.TemporaryDirectory() as home:
        cluster = Cluster(name="bench", home=Path(home), kubectl_path=kubectl_path())
        try:
            up = cluster.autonodes("up", "--name", "bench")
            if up.returncode:
                raise RuntimeError(up.stderr)
            yield from _rounds(cluster, rounds)
        finally:
            cluster.autonodes("down", "--name", "bench")


def _rounds(cluster: Cluster, rounds: int) -> Iterator[Mapping[str, Any]]:
    singles = []
    for number in range(1, rounds + 1):
        ready, running = _buy(cluster, 1)
        singles.append((ready, running))
        yield {"nodes": 1, "round": number, "pending_to_ready_s": ready, "pending_to_running_s": running}
    ready, running = _buy(cluster, FIVE)
    median_ready = statistics.median(ready for ready, _ in singles)
    median_running = statistics.median(running for _, running in singles)
    yield {
        "nodes": FIVE,
        "round": 1,
        "pending_to_ready_s": ready,
        "pending_to_running_s": running,
        "ratio_to_one": running / median_running,
    }
    yield {
        "nodes": 1,
        "round": "median",
        "pending_to_ready_s": median_ready,
        "pending_to_running_s": median_running,
    }


def _buy(cluster: Cluster, count: int) -> tuple[float, float]:
    """Seconds from the pods' creation to the last node Ready, and to the last pod Running; leaves no node."""
    cluster.apply(*(_pod(f"p{number}") for number in range(count)))
    start = time.monotonic()
    wait_for("nodes Ready", lambda: _ready(cluster) >= count, cluster=cluster)
    ready = time.monotonic() - start
    wait_for("pods Running", lambda: _running(cluster) >= count, cluster=cluster)
    running = time.monotonic() - start
    cluster.kubectl("delete", "pods", "--all", "--wait=false")
    wait_for("no nodes", lambda: cluster.nodes() == [], seconds=180, cluster=cluster)
    return ready, running


def _pod(name: str) -> dict[str, Any]:
    """One host port for all, so that no two share a node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "main",
                    "image": "autonodes.io/busybox:1.35",
                    "command": ["sleep", "3600"],
                    "ports": [{"containerPort": 8080, "hostPort": 18080}],
                    "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}},
                }
            ],
        },
    }


def _ready(cluster: Cluster) -> int:
    nodes = cluster.get("nodes")["items"]
    return sum(
        any(item["type"] == "Ready" and item["status"] == "True" for item in node["status"].get("conditions", []))
        for node in nodes
    )


def _running(cluster: Cluster) -> int:
    return sum(pod["status"].get("phase") == "Running" for pod in cluster.get("pods")["items"])
