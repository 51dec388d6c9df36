"""What is chosen for a cluster is chosen once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autonodes.cli import planning, state
from autonodes.cli.settings import Settings
from autonodes.cli.state import Cluster
from autonodes.cli.uplinks import host_address
from syncer.controlplane import processes
from syncer.controlplane.settings import ControlPlane
from syncer.plan import Plan

BINARIES = ("kine", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("AUTONODES_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    for name in ("a", "b"):
        state.cluster(name).remove()


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))  # noqa: S104
        taken.listen()
        yield taken.getsockname()[1]


KWOK = Settings(providers=("kwok",))


def plane(cluster: Cluster, settings: Settings = KWOK) -> ControlPlane:
    record = planning.choose(cluster, settings, ())
    return planning.control_plane(cluster, record, {name: Path("/bin") / name for name in BINARIES})


def plan(cluster: Cluster) -> Plan:
    return planning.plan(cluster, planning.choose(cluster, KWOK, ()), plane(cluster))


def test_ports_and_addresses_stay(home: Path) -> None:
    cluster = state.cluster("a")
    chosen = planning.choose(cluster, KWOK, [Path("/opt/bin")])
    cluster.remember(chosen)
    assert planning.choose(cluster, KWOK, ()) == chosen


def test_two_clusters_share_nothing(home: Path) -> None:
    records = []
    for name in ("a", "b"):
        records.append(planning.choose(state.cluster(name), KWOK, ()))
        state.cluster(name).remember(records[-1])
    chosen = [each for record in records for each in (record.port, record.konnectivity_port, record.uplink)]
    assert len(set(chosen)) == 6


def test_two_that_come_up_at_once_in_two_homes_choose_different_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = planning.choose(state.cluster("a"), KWOK, ())  # not remembered, not listening
    with monkeypatch.context() as patched:
        patched.setenv("AUTONODES_HOME", str(tmp_path / "other"))
        second = planning.choose(state.cluster("a"), KWOK, ())
        state.cluster("a").remove()
    assert len({first.port, first.konnectivity_port, second.port, second.konnectivity_port}) == 4


def test_a_port_in_the_file_is_the_port(listener: int) -> None:
    assert planning.choose(state.cluster("a"), replace(KWOK, port=listener), ()).port == listener


def test_names_for_the_certificate_come_from_the_file() -> None:
    assert plane(state.cluster("a"), replace(KWOK, hosts=("api.example.com",))).extra_hosts == ("api.example.com",)


def test_nodes_reach_the_api_server_by_the_uplink() -> None:
    cluster = state.cluster("a")
    record = planning.choose(cluster, KWOK, ())
    assert plane(cluster).advertise_address == host_address(record.uplink)


def test_no_secret_is_on_a_command_line() -> None:
    words = " ".join(word for process in plan(state.cluster("a")).processes for word in process.argv)
    assert "token" not in words.replace("bootstrap-token-auth", "").replace("tokencleaner", "")
    assert "PRIVATE" not in words


def test_other_default_constraints_are_another_command_line_of_the_scheduler_and_of_nothing_else() -> None:
    """A component is started anew when its command line changes, and the scheduler reads its file at the start only."""
    cluster, spread = state.cluster("a"), replace(KWOK, pod_topology_spread='{"defaultingType": "List"}')
    before, after = (
        {each.name: each.argv for each in processes.processes(plane(cluster, settings))} for settings in (KWOK, spread)
    )
    assert {name for name in before if before[name] != after[name]} == {"kube-scheduler"}


def test_the_controller_and_kwok_wait_until_the_cluster_is_bootstrapped() -> None:
    cluster = state.cluster("a")
    processes = plan(cluster).processes
    assert {each.name for each in processes if each.gate == str(cluster.bootstrapped_file)} == {"controller", "kwok"}
    names = [process.name for process in processes]
    assert names[:2] == ["kine", "kube-apiserver"]
    assert names[-1] == "controller"


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    made = plan(state.cluster("a"))
    made.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == made
