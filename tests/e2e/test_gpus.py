"""Pods that ask for GPUs, on nodes bought for them: cut up (MIG) and shared (time slicing), by the real kubelet."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, wait_for
from gpu_plugin import gpu_plugin
from providers.local.machine import identity

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

PRODUCT = "NVIDIA-A100-SXM4-40GB"
NODE_CLASS: dict[str, Any] = {
    "apiVersion": "autonodes.io/v1alpha1",
    "kind": "LocalNodeClass",
    "metadata": {"name": "gpus"},
    "spec": {
        "instanceTypes": [
            {
                **{"name": "gpu.small", "cpu": 1, "memory": "1Gi", "price": 1.0},
                "gpu": {"product": PRODUCT, "count": 1, "memory": "40Gi"},
            }
        ]
    },
}
POOLS = {"cut": {"nvidia.com/mig.config": "all-1g.5gb"}, "sliced": {"nvidia.com/gpu.replicas": "4"}}
ASKED = {"cut": {"nvidia.com/mig-1g.5gb": 3}, "sliced": {"nvidia.com/gpu": 2}}
SHOWN = {"cut": {"nvidia.com/mig-1g.5gb": "7"}, "sliced": {"nvidia.com/gpu": "4"}}


def pool(name: str) -> dict[str, Any]:
    reference = {"group": "autonodes.io", "kind": "LocalNodeClass", "name": "gpus"}
    spec = {"nodeClassRef": reference, "requirements": [], "expireAfter": "Never"}
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": name},
        "spec": {
            "template": {"metadata": {"labels": POOLS[name]}, "spec": spec},
            "disruption": {"consolidateAfter": "1s", "consolidationPolicy": "WhenEmpty"},
        },
    }


def pod(name: str) -> dict[str, Any]:
    amounts = {resource: str(amount) for resource, amount in ASKED[name].items()}
    container = {
        "name": "main",
        "image": "autonodes.io/busybox:1.35",
        "command": ["/bin/sh", "-c", "echo $NVIDIA_VISIBLE_DEVICES; sleep 3600"],
        "resources": {"requests": {"cpu": "100m", "memory": "32Mi", **amounts}, "limits": amounts},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"gpu-{name}", "namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "nodeSelector": {"karpenter.sh/nodepool": name, "nvidia.com/gpu.family": "ampere"},
            "containers": [container],
        },
    }


def joined(cluster: Cluster, name: str) -> dict[str, Any] | None:
    nodes = cluster.get("nodes", "-l", f"karpenter.sh/nodepool={name}")["items"]
    ready = (
        node
        for node in nodes
        if any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"]["conditions"])
    )
    return next(ready, None)


def root_of(cluster: Cluster, node: dict[str, Any]) -> Path:
    """Of a node's machine, as this host sees it."""
    uid = node["spec"]["providerID"].rpartition("/")[2]
    first = identity.recorded(str(cluster.home / cluster.name / "local/machines" / uid / "init.json"))
    return Path(f"/proc/{first}/root")


def test_a_pod_runs_on_a_part_of_a_gpu_of_a_node_that_was_bought_for_it(cluster: Cluster) -> None:
    documents = (NODE_CLASS, *map(pool, POOLS), *map(pod, POOLS))
    wait_for("all is applied", lambda: cluster.apply(*documents) is None, cluster=cluster)
    with ExitStack() as stack:
        for name in POOLS:
            node = wait_for(f"a node of {name}", lambda name=name: joined(cluster, name), cluster=cluster)
            labels = node["metadata"]["labels"]
            assert labels["nvidia.com/gpu.product"] == PRODUCT
            assert "karpenter.sh/initialized" not in labels, "its GPUs do not show yet"
            shown = stack.enter_context(gpu_plugin(root_of(cluster, node), 1, labels))
            assert {resource: str(amount) for resource, amount in shown.items()} == SHOWN[name]
        for name, amounts in ASKED.items():
            phase = wait_for(
                f"gpu-{name} runs",
                lambda name=name: cluster.get("pod", f"gpu-{name}")["status"].get("phase") == "Running",
                cluster=cluster,
            )
            assert phase
            devices = wait_for("its devices", lambda name=name: cluster.kubectl("logs", f"gpu-{name}").strip())
            (amount,) = amounts.values()
            assert len(set(devices.split(","))) == amount
            node = joined(cluster, name)
            assert node is not None
            assert SHOWN[name].items() <= node["status"]["allocatable"].items()
            wait_for(
                f"the node of {name} is initialized",
                lambda name=name: "karpenter.sh/initialized" in (joined(cluster, name) or {})["metadata"]["labels"],
                cluster=cluster,
            )
    cluster.kubectl("delete", "pod", *(f"gpu-{name}" for name in POOLS), "--wait=false")
    cluster.kubectl("delete", "nodepool", *POOLS)
    wait_for("their nodes go", lambda: all(joined(cluster, name) is None for name in POOLS), cluster=cluster)
    cluster.kubectl("delete", "localnodeclass", "gpus")
