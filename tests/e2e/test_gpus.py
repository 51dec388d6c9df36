"""Pods that ask for GPUs, on nodes bought for them: cut up (MIG) and shared (time slicing), by the real kubelet.

The device plug-in comes as the add-on that users switch on, with another image: its GPUs are only names.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, component_path, wait_for
from gpu_plugin import HARDWARE
from gpu_plugin_image import REFERENCE, gpu_plugin_archive
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
CONFIG = f"""
deploy:
  nvidiaDevicePlugin:
    enabled: true
    image: {REFERENCE}
    profiles:
      cut: {{migStrategy: mixed}}
      sliced: {{timeSlicing: {{resources: [{{name: nvidia.com/gpu, replicas: 4}}]}}}}
"""
PROFILE = "nvidia.com/device-plugin.config"
POOLS = {
    "cut": {"nvidia.com/mig.config": "all-1g.5gb", PROFILE: "cut"},
    "sliced": {"nvidia.com/gpu.replicas": "4", PROFILE: "sliced"},
}
HAS = {"cut": {"nvidia.com/mig-1g.5gb": 7}, "sliced": {"nvidia.com/gpu": 1}}
"""What the driver of a pool's machines would say."""
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


def plugin_runs(cluster: Cluster, node: str) -> bool:
    pods = cluster.get(
        *("pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=nvidia-device-plugin"),
        f"--field-selector=spec.nodeName={node}",
    )["items"]
    return [each["status"].get("phase") for each in pods] == ["Running"]


def root_of(cluster: Cluster, node: dict[str, Any]) -> Path:
    """Of a node's machine, as this host sees it."""
    uid = node["spec"]["providerID"].rpartition("/")[2]
    first = identity.recorded(str(cluster.home / cluster.name / "local/machines" / uid / "init.json"))
    return Path(f"/proc/{first}/root")


def bring_image(root: Path, archive: Path) -> None:
    """To a machine without a registry."""
    address = f"--address={root / 'run/containerd/containerd.sock'}"
    command = [component_path("ctr"), address, "--namespace=k8s.io", "images", "import", "--local", archive]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def daemon_sets(cluster: Cluster) -> set[str]:
    found = cluster.get("daemonsets", "-n", "kube-system", "-l", "app.kubernetes.io/name=nvidia-device-plugin")
    return {each["metadata"]["name"] for each in found["items"]}


def up(cluster: Cluster, directory: Path, config: str) -> None:
    file = directory / "vcluster.yaml"
    file.write_text(config)
    done = cluster.autonodes("up", "--name", cluster.name, "-f", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_pod_runs_on_a_part_of_a_gpu_of_a_node_that_was_bought_for_it(cluster: Cluster, tmp_path: Path) -> None:
    archive = gpu_plugin_archive(tmp_path)
    up(cluster, tmp_path, CONFIG)
    try:
        assert daemon_sets(cluster) == {f"nvidia-device-plugin{each}" for each in ("", "-cut", "-sliced")}
        documents = (NODE_CLASS, *map(pool, POOLS), *map(pod, POOLS))
        wait_for("all is applied", lambda: cluster.apply(*documents) is None, cluster=cluster)
        for name in POOLS:
            show_gpus(cluster, name, archive)
        for name in POOLS:
            check_pod(cluster, name)
    finally:
        cluster.kubectl("delete", "pod", *(f"gpu-{name}" for name in POOLS), "--wait=false", "--ignore-not-found")
        cluster.kubectl("delete", "nodepool", *POOLS, "--ignore-not-found")
        wait_for("their nodes go", lambda: all(joined(cluster, name) is None for name in POOLS), cluster=cluster)
        cluster.kubectl("delete", "localnodeclass", "gpus", "--ignore-not-found")


def show_gpus(cluster: Cluster, name: str, archive: Path) -> None:
    """Give a pool's node the image and the driver."""
    node = wait_for(f"a node of {name}", lambda: joined(cluster, name), cluster=cluster)
    labels = node["metadata"]["labels"]
    assert labels["nvidia.com/gpu.product"] == PRODUCT
    root = root_of(cluster, node)
    bring_image(root, archive)
    wait_for("the plug-in runs", lambda: plugin_runs(cluster, node["metadata"]["name"]), cluster=cluster)
    node = joined(cluster, name)
    assert node is not None
    assert "karpenter.sh/initialized" not in node["metadata"]["labels"], "its GPUs do not show yet"
    hardware = root / "var/lib/kubelet/device-plugins" / HARDWARE
    aside = hardware.with_suffix(".new")
    aside.write_text(json.dumps(HAS[name]))
    aside.rename(hardware)


def check_pod(cluster: Cluster, name: str) -> None:
    """Its pod runs with as many devices as it asked for, on a node that shows what its pool says."""
    wait_for(
        f"gpu-{name} runs",
        lambda: cluster.get("pod", f"gpu-{name}")["status"].get("phase") == "Running",
        cluster=cluster,
    )
    devices = wait_for("its devices", lambda: cluster.kubectl("logs", f"gpu-{name}").strip())
    (amount,) = ASKED[name].values()
    assert len(set(devices.split(","))) == amount
    node = joined(cluster, name)
    assert node is not None
    assert SHOWN[name].items() <= node["status"]["allocatable"].items()
    wait_for(
        f"the node of {name} is initialized",
        lambda: "karpenter.sh/initialized" in (joined(cluster, name) or {})["metadata"]["labels"],
        cluster=cluster,
    )
