"""NVIDIA's device plug-in as an add-on: off unless wanted, on GPU nodes only, and counted before they are bought."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autonodes.api.vcluster import parse
from autonodes.core.daemons import runs_on
from autonodes.core.errors import ConfigError
from autonodes.core.gpus import gpu_labels
from autonodes.core.model import DaemonSet, Pod, Taint, Toleration
from autonodes.core.planner import plan
from autonodes.kube.decoding import decode_daemonset
from core.parts import machine, pod, pool, snapshot
from joiner.addons.nvidia import CONFIG_LABEL, LABELS, NAMESPACE, device_plugin

FULL = """
deploy:
  nvidiaDevicePlugin:
    enabled: true
    image: registry.example.com/plugin:1
    profiles:
      cut: {migStrategy: mixed}
      shared: {timeSlicing: {renameByDefault: true, resources: [{name: nvidia.com/gpu, replicas: 4}]}}
"""
GPU_TAINT = Taint("nvidia.com/gpu", "", "NoSchedule")


def objects(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = device_plugin(parse(text, source="vcluster.yaml").deploy.nvidia_device_plugin)
    return {(each["kind"], each["metadata"]["name"].removeprefix("nvidia-device-plugin")): each for each in found}


def daemon_sets() -> dict[str, DaemonSet]:
    return {name: decode_daemonset(json.dumps(each).encode()) for (kind, name), each in objects(FULL).items()
            if kind == "DaemonSet"}  # fmt: skip


def running(labels: dict[str, str]) -> list[str]:
    """Which of the DaemonSets put a pod on a node."""
    shown = {"kubernetes.io/os": "linux"} | labels
    return [name for name, each in daemon_sets().items() if runs_on(each, (), shown)]


def test_there_is_none_unless_it_is_wanted() -> None:
    assert objects("{}") == {}


def test_each_profile_is_a_daemon_set_with_the_file_that_nvidias_plug_in_reads() -> None:
    found = objects(FULL)
    assert set(found) == {(kind, name) for kind in ("ConfigMap", "DaemonSet") for name in ("", "-cut", "-shared")}
    files = {name: json.loads(found["ConfigMap", name]["data"]["config.yaml"]) for name in ("", "-cut", "-shared")}
    assert files[""] == {"version": "v1", "flags": {"migStrategy": "none"}}
    assert files["-cut"]["flags"] == {"migStrategy": "mixed"}
    assert files["-shared"]["sharing"]["timeSlicing"] == {
        "renameByDefault": True,
        "failRequestsGreaterThanOne": False,
        "resources": [{"name": "nvidia.com/gpu", "replicas": 4}],
    }
    for each in found.values():
        assert each["metadata"]["namespace"] == NAMESPACE
        assert each["metadata"]["labels"].items() >= LABELS.items()
    changed = objects(FULL.replace("replicas: 4", "replicas: 2"))
    (before, after) = (each["DaemonSet", "-shared"]["spec"]["template"]["metadata"] for each in (found, changed))
    assert before != after, "a plug-in that runs would not read the new file"


def test_it_runs_where_gpus_are_and_nowhere_else_each_node_with_one_profile() -> None:
    ours = gpu_labels("NVIDIA-A100-SXM4-40GB", 1, 40 << 30)
    assert running({}) == []
    assert running(ours) == running({"karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia"}) == [""]
    assert running(ours | {CONFIG_LABEL: "cut"}) == ["-cut"]
    assert running(ours | {CONFIG_LABEL: "no-such-profile"}) == [""]
    assert running({"karpenter.k8s.aws/instance-gpu-manufacturer": "habana", CONFIG_LABEL: "cut"}) == []


def test_only_who_shows_mig_instances_has_more_rights() -> None:
    def container(name: str) -> dict[str, Any]:
        spec: dict[str, Any] = objects(FULL)["DaemonSet", name]["spec"]["template"]["spec"]
        assert spec["priorityClassName"] == "system-node-critical"
        assert spec["automountServiceAccountToken"] is False
        (only,) = spec["containers"]
        return dict(only)

    assert container("")["image"] == "registry.example.com/plugin:1"
    assert container("-shared")["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container("-cut")["securityContext"] == {"capabilities": {"add": ["SYS_ADMIN"]}}
    names = {name: {each["name"] for each in container(name)["env"]} for name in ("", "-cut")}
    assert names["-cut"] - names[""] == {"NVIDIA_MIG_MONITOR_DEVICES"}


def gpu_pod(**fields: Any) -> Pod:
    return pod("a", gpu=1, tolerations=(Toleration("nvidia.com/gpu", "Exists"),), **fields)


def test_what_it_takes_is_counted_before_a_node_is_bought() -> None:
    labels = {"kubernetes.io/os": "linux"} | gpu_labels("NVIDIA-A100-SXM4-40GB", 1, 40 << 30)
    lines = [f"{key} In {value}" for key, value in labels.items()]
    types = (
        machine("tight", *lines, cpu=1, gpu=1, price=1.0),
        machine("roomy", *lines, cpu=2, gpu=1, price=2.0),
    )
    daemons = tuple(daemon_sets().values())

    def bought(asked: str) -> str:
        found = plan(snapshot([gpu_pod(cpu=asked)], types=types, pools=[pool(taints=(GPU_TAINT,))], daemonsets=daemons))
        (purchase,) = found.purchases
        return purchase.candidates[0][0]

    assert bought("990m") == "tight"
    assert bought("991m") == "roomy"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 1}]}", "replicas"),
        ("timeSlicing: {resources: [{name: gpu, replicas: 2}]}", "nvidia.com/gpu, or nvidia.com/mig-PROFILE"),
        ("timeSlicing: {resources: []}", "resources"),
        ("migStrategy: some", "migStrategy"),
        ("enabeld: true", 'did you mean "enabled"'),
        ("profiles: {default: {}}", "'default' is taken"),
    ],
)
def test_what_nvidias_plug_in_would_not_read_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"deploy\.nvidiaDevicePlugin") as raised:
        parse(f"deploy: {{nvidiaDevicePlugin: {{{text}}}}}", source="vcluster.yaml")
    assert words in str(raised.value)
