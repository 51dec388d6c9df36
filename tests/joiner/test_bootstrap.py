"""The boot plan: what a machine gets, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from autonodes.core.model import Taint
from autonodes.provider import BootPlan, NodeSettings, ProviderID
from joiner.bootstrap import ClaimBootstrap, ClusterAccess

TOKEN = "abcdef.0123456789abcdef"


def plan(*, labels: dict[str, str] | None = None, **settings: Any) -> BootPlan:
    bootstrap = ClaimBootstrap(
        node_name="default-x7k2p",
        token=TOKEN,
        access=ClusterAccess(server="https://100.64.0.1:6443", ca=b"CA"),
        labels=labels or {},
        taints=(Taint("karpenter.sh/unregistered", "", "NoExecute"), Taint("gpu", "yes")),
    )
    return bootstrap.boot_plan(NodeSettings(provider_id=ProviderID("local://c/uid"), **settings))


def document(boot: BootPlan, path: str) -> Any:
    return yaml.safe_load(next(file.content for file in boot.files if file.path == path))


def test_the_token_is_only_in_a_file_that_root_alone_can_read() -> None:
    boot = plan()
    holders = [file for file in boot.files if TOKEN.encode() in file.content]
    assert [(file.path, file.mode) for file in holders] == [("/etc/kubernetes/bootstrap.kubeconfig", 0o600)]
    assert all(TOKEN not in word for process in boot.processes for word in process.argv)
    assert TOKEN not in repr(boot)


def test_the_kubelet_registers_with_every_taint_and_its_provider_id() -> None:
    config = document(plan(), "/etc/kubernetes/kubelet.yaml")
    assert config["providerID"] == "local://c/uid"
    assert [taint["key"] for taint in config["registerWithTaints"]] == ["karpenter.sh/unregistered", "gpu"]
    assert config["rotateCertificates"] is True
    assert config["serverTLSBootstrap"] is True
    assert config["authentication"]["anonymous"] == {"enabled": False}


def test_the_provider_s_settings_win_over_the_defaults() -> None:
    config = document(plan(kubelet={"failCgroupV1": False}, cgroup_root="/autonodes/x"), "/etc/kubernetes/kubelet.yaml")
    assert config["failCgroupV1"] is False
    assert config["cgroupRoot"] == "/autonodes/x"


@pytest.mark.parametrize(
    ("label", "set_by_kubelet"),
    [
        ("karpenter.sh/nodepool", True),
        ("team", True),
        ("topology.kubernetes.io/zone", True),
        ("node.kubernetes.io/instance-type", True),
        ("node-restriction.kubernetes.io/tenant", False),
        ("something.k8s.io/else", False),
    ],
)
def test_only_labels_that_node_restriction_allows_are_left_to_the_kubelet(label: str, *, set_by_kubelet: bool) -> None:
    kubelet = plan(labels={label: "v"}).processes[-1]
    given = next(word for word in kubelet.argv if word.startswith("--node-labels="))
    assert (f"{label}=v" in given) is set_by_kubelet


def test_containerd_must_answer_before_the_kubelet_starts() -> None:
    first, second = plan().processes
    assert (first.name, first.ready_socket) == ("containerd", "/run/containerd/containerd.sock")
    assert second.name == "kubelet"
