"""Many pods and nodes on a bare API server, and a process that follows them as the controller does.

The pods are bound to their nodes when they are created and get the status that a kubelet would write. They belong to
workloads of a hundred each. As a program (``python -m tests.benchmarks._largecluster KUBECONFIG``) it fills the
controller's caches and prints what that took.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from autonodes.controllers.clock import SystemClock
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.resources import NODES, PODS, SERVICEACCOUNTS
from controlplane import control_plane
from tests.benchmarks._process import private_mb, watched

NAME: Final = "bench-large"
_WORKLOAD: Final = 100
_AT_ONCE: Final = 64

Row = Mapping[str, Any]


def rows(pods: int, nodes: int) -> Iterator[Row]:
    """One: the caches of so large a cluster."""
    with tempfile.TemporaryDirectory(prefix=f"{NAME}-") as directory, control_plane(Path(directory)) as running:
        running.install_kinds()
        began = time.monotonic()
        asyncio.run(_fill(running.kubeconfig, pods, nodes))
        filled = time.monotonic() - began
        command = [sys.executable, "-m", "tests.benchmarks._largecluster", str(running.kubeconfig)]
        told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    if (told["pods"], told["nodes"]) != (pods, nodes):
        raise SystemExit(f"the caches have {told['pods']} pods and {told['nodes']} nodes")
    yield {"phase": "cache", **told, "filling_s": round(filled, 1)}


async def _fill(kubeconfig: Path, pods: int, nodes: int) -> None:
    async with KubeClient.from_kubeconfig(kubeconfig, user_agent=NAME) as client:
        # no controller manager runs here, so the account that admission asks for is made by hand
        await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
        await _each(range(nodes), lambda number: _node(client, number))
        await _each(range(pods), lambda number: _pod(client, number, nodes))


async def _each(numbers: Iterable[int], act: Callable[[int], Awaitable[None]]) -> None:
    left = iter(numbers)

    async def work() -> None:
        for number in left:
            await act(number)

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))


async def _node(client: KubeClient, number: int) -> None:
    name = f"node-{number:05}"
    labels = {
        "karpenter.sh/nodepool": f"pool-{number % 20}",
        "karpenter.sh/capacity-type": ("on-demand", "spot")[number % 2],
        "karpenter.sh/registered": "true",
        "karpenter.sh/initialized": "true",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": f"m{number % 50}.4xlarge",
        "topology.kubernetes.io/zone": f"zone-{number % 3}",
    }
    room = {"cpu": "15900m", "memory": "64000Mi", "pods": "110", "ephemeral-storage": "100Gi"}
    pressures = [(f"{each}Pressure", "False") for each in ("Memory", "Disk", "PID")]
    status = {
        "capacity": {**room, "cpu": "16"},
        "allocatable": room,
        "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": "10.0.0.1"}],
        "conditions": [_condition(kind, value) for kind, value in (*pressures, ("Ready", "True"))],
    }
    spec = {"providerID": f"fake:///zone-{number % 3}/{name}"}
    await client.create(NODES, {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status})


async def _pod(client: KubeClient, number: int, nodes: int) -> None:
    workload = f"app-{number // _WORKLOAD:04}"
    name = f"{workload}-6b7c9d8f5-{number:05}"
    await client.create(PODS, _manifest(name, workload, f"node-{number % nodes:05}"), "default")
    container = {"name": "main", "image": "registry.example/app:1", "imageID": "sha256:0", "restartCount": 0}
    running = {**container, "ready": True, "started": True, "state": {"running": {"startedAt": _NOW}}}
    conditions = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    status = {
        "phase": "Running",
        "startTime": _NOW,
        "hostIP": "10.0.0.1",
        "podIP": "10.1.0.1",
        "podIPs": [{"ip": "10.1.0.1"}],
        "conditions": [_condition(kind, "True") for kind in conditions],
        "containerStatuses": [running],
    }
    await client.merge_patch(PODS, name, {"status": status}, "default", subresource="status")


_NOW: Final = "2026-01-01T00:00:00Z"


def _condition(kind: str, status: str) -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": _NOW}


def _manifest(name: str, workload: str, node: str) -> dict[str, Any]:
    labels = {"app": workload, "pod-template-hash": "6b7c9d8f5"}
    requests = {"cpu": "250m", "memory": "512Mi"}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{workload}-6b7c9d8f5", "uid": f"uid-{workload}"}
    spread = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": workload}},
    }
    return {
        "metadata": {"name": name, "labels": labels, "ownerReferences": [{**owner, "controller": True}]},
        "spec": {
            "nodeName": node,
            "containers": [
                {"name": "main", "image": "registry.example/app:1", "resources": {"requests": requests}},
            ],
            "topologySpreadConstraints": [spread],
        },
    }


async def _follow(kubeconfig: Path) -> Row:
    """Until all caches are complete."""
    async with KubeClient.from_kubeconfig(kubeconfig, user_agent=NAME) as client:
        state = ClusterState(client, SystemClock())
        started = time.monotonic()
        async with watched(os.getpid(), every=0.05) as usage:
            following = asyncio.create_task(state.run())
            await state.synced()
            seconds = time.monotonic() - started
        gc.collect()
        found = {
            "pods": len(state.pods.items),
            "nodes": len(state.nodes.items),
            "seconds": round(seconds, 2),
            "cpu_s": round(usage.cpu_s, 2),
            "private_mb": round(private_mb(os.getpid()), 1),
            "peak_mb": round(max(usage.memory_mb), 1),
        }
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_follow(Path(sys.argv[1])))))
