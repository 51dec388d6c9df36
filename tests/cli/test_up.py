"""A cluster from `up` to `down`, with what can happen in between: on simulated nodes, without root if need be."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import COMMAND, Cluster, kubectl_path, wait_for
from syncer.controlplane.temporary import free_port
from syncer.status import Identity

pytestmark = pytest.mark.integration

PROCESSES = (
    *("kine", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("konnectivity-server", "kwok", "controller"),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Up with one pool of simulated nodes."""
    running = Cluster(name="cli", home=tmp_path_factory.mktemp("home"), kubectl_path=kubectl_path())
    try:
        up(running, "--provider", "kwok")
        yield running
    finally:
        running.autonodes("down", "--name", running.name)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Cluster]:
    """For a cluster that may not come up; what is left of it is removed."""
    made = Cluster(name="cli-fault", home=tmp_path / "home", kubectl_path=Path("kubectl"))
    yield made
    made.autonodes("down", "--name", made.name)


def up(cluster: Cluster, *arguments: str) -> str:
    done = cluster.autonodes("up", "--name", cluster.name, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def status(cluster: Cluster) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(cluster.autonodes("status", "--name", cluster.name, "-o", "json").stdout)
    return report


def pids(cluster: Cluster) -> dict[str, int]:
    return {each["name"]: each["pid"] for each in status(cluster)["processes"]}


def supervisor(cluster: Cluster) -> int:
    """Parent of all the others."""
    return int(Path(f"/proc/{pids(cluster)['kine']}/stat").read_text().rpartition(")")[2].split()[1])


def eventually_well(cluster: Cluster) -> dict[str, Any]:
    def well() -> dict[str, Any] | None:
        report = status(cluster)
        return report if report["state"] == "running" and report["nodePools"] is not None else None

    found: dict[str, Any] = wait_for("the cluster is well", well, cluster=cluster)
    return found


def remember(cluster: Cluster, value: str) -> None:
    cluster.kubectl("create", "configmap", value, f"--from-literal=value={value}")


def gone(identity: Identity | None) -> bool:
    return identity is None or not identity.alive()


def of_home(home: Path) -> list[str]:
    """Command lines of processes that work for a cluster in ``home``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if str(home) in words:
                found.append(words)
    return found


def test_everything_runs_and_is_shown(cluster: Cluster) -> None:
    report = status(cluster)
    assert report["state"] == "running"
    assert [each["name"] for each in report["processes"]] == list(PROCESSES)
    assert {each["state"] for each in report["processes"]} == {"ready"}
    assert [(each["name"], each["ready"]) for each in report["nodePools"]] == [("default", True)]
    table = cluster.autonodes("status", "--name", cluster.name)
    assert table.returncode == 0
    assert all(name in table.stdout for name in PROCESSES)


def test_the_kubeconfig_is_the_administrator_s_and_only_its_owner_s(cluster: Cluster) -> None:
    path = cluster.autonodes("kubeconfig", "--name", cluster.name, "--path").stdout.strip()
    assert Path(path) == cluster.kubeconfig
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert cluster.kubectl("auth", "can-i", "*", "*").strip() == "yes"
    printed = cluster.autonodes("kubeconfig", "--name", cluster.name, "--server", "https://api.example.com:1")
    assert "server: https://api.example.com:1" in printed.stdout


def test_nothing_secret_can_be_read_by_others(cluster: Cluster) -> None:
    directory = cluster.home / cluster.name
    assert directory.stat().st_mode & 0o777 == 0o700
    for path in directory.rglob("*"):
        if path.suffix in (".key", ".kubeconfig", ".db", ".log"):
            assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0, path


def test_a_second_up_changes_nothing(cluster: Cluster) -> None:
    before = pids(cluster)
    said = up(cluster)
    assert "all valid" in said
    assert pids(cluster) == before


def test_metrics_are_served_where_up_was_told_and_the_control_plane_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    before, port = pids(cluster), free_port()
    up(cluster, "--metrics-port", str(port))
    wait_for("it is in sync", lambda: "karpenter_cluster_state_synced 1.0" in _metrics(port), cluster=cluster)
    up(cluster)
    assert "karpenter_cluster_state_synced 1.0" in _metrics(port)
    file = tmp_path / "vcluster.yaml"
    file.write_text("privateNodes: {autoNodes: [{provider: kwok, dynamic: [{name: default}]}]}")
    up(cluster, "-f", str(file))
    wait_for("they no longer are", lambda: not _metrics(port), cluster=cluster)
    after = pids(cluster)
    assert {name for name in before if before[name] != after[name]} <= {"controller", "kwok"}


def _metrics(port: int) -> str:
    """ "" while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_a_pod_that_waits_gets_a_node(cluster: Cluster) -> None:
    cluster.apply(pod("waits"))
    wait_for("the pod runs", lambda: cluster.get("pod", "waits")["status"]["phase"] == "Running", cluster=cluster)
    assert len(cluster.nodes()) == 1


@pytest.mark.parametrize("name", PROCESSES)
def test_a_killed_component_comes_back_and_nothing_is_lost(cluster: Cluster, name: str) -> None:
    remember(cluster, f"before-{name}")
    before = pids(cluster)
    os.kill(before[name], signal.SIGKILL)
    wait_for(f"a new {name}", lambda: pids(cluster).get(name) not in (None, before[name]), cluster=cluster)
    eventually_well(cluster)
    assert cluster.get("configmap", f"before-{name}")["data"]["value"] == f"before-{name}"
    assert {other: pid for other, pid in pids(cluster).items() if other != name} == {
        other: pid for other, pid in before.items() if other != name
    }


def test_a_killed_supervisor_takes_its_processes_along_and_up_goes_on(cluster: Cluster) -> None:
    remember(cluster, "before-supervisor")
    identities = [Identity.of(pid) for pid in pids(cluster).values()]
    os.kill(supervisor(cluster), signal.SIGKILL)
    wait_for("no orphan", lambda: all(gone(identity) for identity in identities))
    report = cluster.autonodes("status", "--name", cluster.name)
    assert report.returncode == 1
    assert "stopped" in report.stdout
    up(cluster)
    assert status(cluster)["state"] == "running"
    assert cluster.get("configmap", "before-supervisor")["data"]["value"] == "before-supervisor"


def test_a_pool_in_the_file_comes_and_goes_without_a_restart(cluster: Cluster, tmp_path: Path) -> None:
    def configured(*pools: str) -> str:
        dynamic = [{"name": name, "limits": {"nodes": "3"}} for name in pools]
        file = tmp_path / "vcluster.yaml"
        file.write_text(json.dumps({"privateNodes": {"autoNodes": [{"provider": "kwok", "dynamic": dynamic}]}}))
        return up(cluster, "-f", str(file))

    before = pids(cluster)
    configured("default", "more")
    assert {each["name"] for each in status(cluster)["nodePools"]} == {"default", "more"}
    assert "removed more" in configured("default")
    wait_for("one pool", lambda: [each["name"] for each in status(cluster)["nodePools"]] == ["default"])
    assert pids(cluster) == before


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("networking: {podCIDR: 10.200.0.0/16}\nprivateNodes: {autoNodes: [{provider: kwok}]}", "networking.podCIDR"),
        ("privateNodes: {autoNodes: [{provider: local}]}", "privateNodes.autoNodes"),
    ],
)
def test_what_cannot_change_is_refused_and_the_cluster_goes_on(
    cluster: Cluster, tmp_path: Path, text: str, path: str
) -> None:
    file = tmp_path / "vcluster.yaml"
    file.write_text(text)
    done = cluster.autonodes("up", "--name", cluster.name, "-f", str(file))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {path}")
    assert status(cluster)["state"] == "running"


def test_policies_that_change_reach_the_controller_by_a_restart(cluster: Cluster, tmp_path: Path) -> None:
    """A pool that offers too little choice buys once that is forgiven."""
    choice = {"key": "node.kubernetes.io/instance-type", "operator": "Exists", "minValues": 50}
    pool = json.loads(cluster.kubectl("get", "nodepool", "default", "-o", "json"))
    pool["metadata"] = {"name": "choosy"}
    pool["spec"]["template"]["spec"].update(
        requirements=[choice, {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}],
        taints=[{"key": "choosy", "effect": "NoSchedule"}],
    )
    del pool["status"]
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pool))
    tolerant = {
        "tolerations": [{"key": "choosy", "operator": "Exists"}],
        "nodeSelector": {"karpenter.sh/nodepool": "choosy"},
    }
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "100m"}}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "choosy"},
        "spec": {"containers": [container], **tolerant},
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    wait_for("it is refused", lambda: "minValues" in cluster.kubectl("get", "events"), cluster=cluster)
    before = pids(cluster)
    file = tmp_path / "vcluster.yaml"
    pools = "autoNodes: [{provider: kwok, dynamic: [{name: default}]}]"
    file.write_text(f"privateNodes: {{minValuesPolicy: BestEffort, {pools}}}")
    up(cluster, "-f", str(file))
    restarted = {name for name, pid in pids(cluster).items() if before[name] != pid}
    assert restarted == {"controller", "kwok"}  # what waits for the cluster to be bootstrapped
    wait_for(
        "it has a node",
        lambda: cluster.kubectl("get", "pod", "choosy", "-o", "jsonpath={.spec.nodeName}"),
        cluster=cluster,
    )
    after = pids(cluster)
    up(cluster, "-f", str(file))
    assert pids(cluster) == after
    cluster.kubectl("delete", "pod/choosy", "nodepool/choosy", "--wait=false")


def test_default_constraints_that_change_reach_the_scheduler(cluster: Cluster, tmp_path: Path) -> None:
    zones = "topologyKey: topology.kubernetes.io/zone, minDomains: 3"
    constraint = f"{{maxSkew: 1, {zones}, whenUnsatisfiable: DoNotSchedule}}"
    spread = f"podTopologySpread: {{defaultingType: List, defaultConstraints: [{constraint}]}}"
    file = tmp_path / "vcluster.yaml"
    file.write_text(
        f"controlPlane: {{distro: {{k8s: {{scheduler: {{{spread}}}}}}}}}\n"
        "privateNodes: {autoNodes: [{provider: kwok, dynamic: [{name: default}]}]}"
    )
    before = pids(cluster)["kube-scheduler"]
    up(cluster, "-f", str(file))
    assert pids(cluster)["kube-scheduler"] != before
    cluster.kubectl("create", "deployment", "even", "--image=none", "--replicas=3")
    nodes = "jsonpath={.items[*].spec.nodeName}"

    def bound() -> list[str] | None:
        found = cluster.kubectl("get", "pods", "-l", "app=even", "-o", nodes).split()
        return found if len(found) == 3 else None

    names = wait_for("all are bound", bound, cluster=cluster)
    zone = "jsonpath={.metadata.labels.topology\\.kubernetes\\.io/zone}"
    assert len({cluster.kubectl("get", "node", name, "-o", zone) for name in names}) == 3
    cluster.kubectl("delete", "deployment", "even", "--wait=false")


def test_a_taken_port_is_told_with_its_process(home: Cluster, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))  # noqa: S104
        listener.listen()
        port = listener.getsockname()[1]
        done = up_with_port(home, tmp_path, port)
    assert done.returncode == 1
    assert f"port {port} on 0.0.0.0 is taken by" in done.stderr
    assert f"(pid {os.getpid()})" in done.stderr
    assert "controlPlane.proxy.port" in done.stderr
    assert of_home(home.home) == []


def up_with_port(home: Cluster, directory: Path, port: int) -> subprocess.CompletedProcess[str]:
    file = directory / "vcluster.yaml"
    file.write_text(f"controlPlane: {{proxy: {{port: {port}}}}}\nprivateNodes: {{autoNodes: [{{provider: kwok}}]}}\n")
    return home.autonodes("up", "--name", home.name, "-f", str(file))


def test_a_component_that_will_not_stay_up_is_told_with_its_last_words(home: Cluster, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    script = broken / "kine"
    says_its_version = '[ "$1" = --version ] && { echo "kine version v0.17.5"; exit 0; }'
    script.write_text(f'#!/bin/sh\n{says_its_version}\necho "gears are stuck" >&2\nexit 7\n')
    script.chmod(0o755)
    done = home.autonodes("up", "--name", home.name, "--provider", "kwok", "--components", str(broken))
    assert done.returncode == 1
    assert "error: kine does not stay up (exit code 7, 3 times)" in done.stderr
    assert "gears are stuck" in done.stderr
    assert "kine.log" in done.stderr
    assert of_home(home.home) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk_is_told_before_anything_starts(home: Cluster) -> None:
    home.home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(home.home)], check=True)
    try:
        done = home.autonodes("up", "--name", home.name, "--provider", "kwok")
        assert done.returncode == 1
        assert done.stderr.startswith("error: the disk is full")
        assert "make room" in done.stderr
        assert of_home(home.home) == []
    finally:
        subprocess.run(["umount", "-l", str(home.home)], check=True)


def test_an_interrupted_up_is_finished_by_the_next_and_down_removes_half_a_cluster(home: Cluster) -> None:
    for interrupted_after in ("certificates", "API server"):
        interrupt_up(home, after=interrupted_after)
    done = home.autonodes("down", "--name", home.name)
    assert done.returncode == 0, done.stderr
    wait_for("nothing is left", lambda: of_home(home.home) == [])
    assert not (home.home / home.name).exists()


def interrupt_up(home: Cluster, *, after: str) -> None:
    """Killed when it has told of the step ``after``."""
    running = subprocess.Popen(
        [COMMAND, "up", "--name", home.name, "--provider", "kwok"],
        env={**os.environ, "AUTONODES_HOME": str(home.home), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.strip().startswith(after):
                break
        running.kill()


def test_down_leaves_nothing(cluster: Cluster) -> None:
    """The last one: it takes the cluster of the others away."""
    done = cluster.autonodes("down", "--name", cluster.name)
    assert done.returncode == 0, done.stderr
    assert of_home(cluster.home) == []
    assert not (cluster.home / cluster.name).exists()
    again = cluster.autonodes("down", "--name", cluster.name)
    assert (again.returncode, again.stderr) == (0, "")


def pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "100m"}}}],
        },
    }
