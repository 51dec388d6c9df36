"""A real virtual machine, booted by libvirt and QEMU, that joins from behind NAT, runs pods, is drained, and goes."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster, kubectl_path, wait_for
from libvirt_daemon import Daemon, daemon
from local_machines import command_lines

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

BUSYBOX = "autonodes.io/busybox:1.35"
BOOT_WITHIN = 400
"""Seconds; emulated, with two processors for itself, a machine takes twenty."""
GONE = "qemu+unix:///session?socket=/nonexistent"


@dataclasses.dataclass(frozen=True)
class Farm:
    cluster: Cluster
    hypervisor: Daemon

    def volumes(self) -> list[str]:
        """Of machines; copies of images stay."""
        names = sorted(path.name for path in (self.hypervisor.directory / "pool").iterdir())
        return [name for name in names if not name.startswith("autonodes-base-")]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A cluster whose nodes are machines on a hypervisor of this host; a second hypervisor of its pool is gone."""
    home, before = tmp_path_factory.mktemp("home"), uplinks()
    with daemon() as hypervisor:
        running = Cluster(name="vms", home=home, kubectl_path=kubectl_path())
        try:
            up = running.autonodes("up", "--name", running.name, "-f", str(configuration(home, hypervisor.uri)))
            assert up.returncode == 0, up.stdout + up.stderr
            yield Farm(running, hypervisor)
        finally:
            down = running.autonodes("down", "--name", running.name)
        assert down.returncode == 0, down.stdout + down.stderr
        assert hypervisor.machines() == []
        with hypervisor.connection() as connection:
            assert connection.listAllDomains() == []
        assert list((hypervisor.directory / "pool").iterdir()) == []
        assert uplinks() == before
        assert list(home.iterdir()) == [home / "vcluster.yaml"]
    assert command_lines_with(str(home)) == command_lines_with(str(hypervisor.directory)) == []


def uplinks() -> list[str]:
    """Addresses under which this host's machines reach their clusters."""
    listed = ("ip", "-4", "-o", "address", "show", "dev", "lo", "to", "100.64.0.0/10")
    return subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()


def command_lines_with(text: str) -> list[str]:
    return [line for line in command_lines() if text in line]


def configuration(directory: Path, uri: str) -> Path:
    """Of the two hypervisors, one can be reached."""
    pool = {"name": "default", "limits": {"nodes": "1"}, "disruption": {"consolidateAfter": "Never"}}
    provider = {"provider": "libvirt", "properties": {"uris": f"{GONE}, {uri}"}, "dynamic": [pool]}
    path = directory / "vcluster.yaml"
    path.write_text(yaml.safe_dump({"privateNodes": {"enabled": True, "autoNodes": [provider]}}))
    return path


def pod(name: str) -> dict[str, Any]:
    """Needs more than one of a machine's two cores."""
    command = f"echo this is {name}; trap 'exit 0' TERM; sleep 3600 & wait"
    resources = {"requests": {"cpu": "1100m", "memory": "32Mi"}}
    main = {"name": "main", "image": BUSYBOX, "command": ["/bin/sh", "-c", command], "resources": resources}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [main]},
    }


def hostname(cluster: Cluster, pod_name: str) -> str:
    return cluster.kubectl("exec", pod_name, "--", "hostname").strip()


def test_a_machine_joins_from_behind_nat_runs_pods_is_drained_and_goes(farm: Farm) -> None:
    cluster = farm.cluster
    cluster.apply(pod("one"))
    # a watch: the machine needs the processor that polling would take
    cluster.kubectl("wait", "--for=condition=Ready", "pod/one", f"--timeout={BOOT_WITHIN}s", timeout=BOOT_WITHIN + 10)
    (claim,) = cluster.names("nodeclaims")
    node = cluster.get("node", claim)
    assert node["spec"]["providerID"].startswith("libvirt://vms/")
    assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "libvirt.medium"
    promised = cluster.get("nodeclaim", claim)["status"]["allocatable"]
    assert promised["memory"] == "2Gi"
    assert int(node["status"]["allocatable"]["memory"].removesuffix("Ki")) >= 2 * 2**20
    assert wait_for("logs", lambda: cluster.kubectl("logs", "one"), cluster=cluster) == "this is one\n"
    assert hostname(cluster, "one") == "one"
    assert len(farm.hypervisor.machines()) == 1
    the_hypervisor_s_daemon_dies_and_comes_back(farm)
    cluster.kubectl("delete", "nodeclaim", claim, "--wait=true", timeout=240)
    assert cluster.names("nodeclaims") == cluster.nodes() == cluster.names("pods") == []
    assert farm.hypervisor.machines() == []
    assert farm.volumes() == []


def the_hypervisor_s_daemon_dies_and_comes_back(farm: Farm) -> None:
    """Its machine runs on meanwhile; nothing is concluded, and afterwards it can be removed."""
    farm.hypervisor.kill()
    assert hostname(farm.cluster, "one") == "one"
    farm.hypervisor.start()
    assert farm.cluster.nodes() == farm.cluster.names("nodeclaims")
    assert len(farm.hypervisor.machines()) == 1
