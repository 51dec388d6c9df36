"""What is chosen for a cluster is chosen once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from autonodes.api.vcluster import VClusterConfig, parse, with_provider
from autonodes.cli import planning, state
from autonodes.cli.state import Cluster
from autonodes.cli.uplinks import host_address
from syncer.controlplane.settings import ControlPlane

BINARIES = ("kine", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTONODES_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))  # noqa: S104
        taken.listen()
        yield taken.getsockname()[1]


def plane(cluster: Cluster, config: VClusterConfig) -> ControlPlane:
    record = planning.choose(cluster, config, ())
    return planning.control_plane(cluster, config, record, {name: Path("/bin") / name for name in BINARIES})


def test_ports_and_addresses_stay(home: Path) -> None:
    cluster = state.cluster("a")
    chosen = planning.choose(cluster, VClusterConfig(), [Path("/opt/bin")])
    cluster.remember(chosen)
    assert planning.choose(cluster, VClusterConfig(), ()) == chosen


def test_two_clusters_share_nothing(home: Path) -> None:
    records = []
    for name in ("a", "b"):
        records.append(planning.choose(state.cluster(name), VClusterConfig(), ()))
        state.cluster(name).remember(records[-1])
    chosen = [each for record in records for each in (record.port, record.konnectivity_port, record.uplink)]
    assert len(set(chosen)) == 6


def test_a_port_in_the_file_is_the_port(listener: int) -> None:
    config = parse(f"controlPlane: {{proxy: {{port: {listener}}}}}", source="f")
    assert planning.choose(state.cluster("a"), config, ()).port == listener


def test_names_for_the_certificate_come_from_the_file() -> None:
    text = "controlPlane: {endpoint: api.example.com, proxy: {extraSANs: [192.0.2.1]}}"
    assert plane(state.cluster("a"), parse(text, source="f")).extra_hosts == ("api.example.com", "192.0.2.1")


def test_nodes_reach_the_api_server_by_the_uplink() -> None:
    cluster = state.cluster("a")
    record = planning.choose(cluster, VClusterConfig(), ())
    assert plane(cluster, VClusterConfig()).advertise_address == host_address(record.uplink)


def test_no_secret_is_on_a_command_line() -> None:
    cluster, config = state.cluster("a"), with_provider("kwok")
    record = planning.choose(cluster, config, ())
    plan = planning.plan(cluster, config, record, plane(cluster, config))
    words = " ".join(word for process in plan.processes for word in process.argv)
    assert "token" not in words.replace("bootstrap-token-auth", "").replace("tokencleaner", "")
    assert "PRIVATE" not in words


def test_the_controller_and_kwok_wait_until_the_cluster_is_bootstrapped() -> None:
    cluster, config = state.cluster("a"), with_provider("kwok")
    plan = planning.plan(cluster, config, planning.choose(cluster, config, ()), plane(cluster, config))
    gated = {process.name for process in plan.processes if process.gate == str(cluster.bootstrapped_file)}
    assert gated == {"controller", "kwok"}
    names = [process.name for process in plan.processes]
    assert names[:2] == ["kine", "kube-apiserver"]
    assert names[-1] == "controller"


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    cluster, config = state.cluster("a"), with_provider("kwok")
    plan = planning.plan(cluster, config, planning.choose(cluster, config, ()), plane(cluster, config))
    plan.write(tmp_path / "plan.json")
    assert type(plan).read(tmp_path / "plan.json") == plan
