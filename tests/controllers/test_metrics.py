"""What Prometheus is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest

from autonodes.api.conditions import set_condition
from autonodes.controllers.gauges import Reading, gauges
from autonodes.controllers.interruption import REASONS
from autonodes.controllers.metrics import Metrics
from autonodes.controllers.repair import UNREACHABLE
from autonodes.controllers.replacements import annotation
from autonodes.controllers.series import SERIES
from autonodes.core.disruption import Circumstances, Command, Decision, Policy
from autonodes.core.labels import ARCH, CAPACITY_TYPE, INSTANCE_TYPE, ZONE
from autonodes.core.model import Budget
from autonodes.core.planner import plan
from autonodes.kube.cache import Change
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.provider import Machine, MachineNotFoundError, Provider, ProviderID
from clock import VirtualClock
from controllers.claimbook import claim
from controllers.stage import Stage
from controllers.test_program import until_running
from core.parts import machine, pod, pool, ready_node, running, snapshot
from syncer.controlplane.temporary import free_port


def metrics(monkeypatch: pytest.MonkeyPatch, *, synced: bool = True) -> Metrics:
    state = ClusterState(cast(KubeClient, None), VirtualClock())
    monkeypatch.setattr(type(state.nodeclaims), "is_synced", property(lambda _: synced))
    return Metrics(state, VirtualClock(), port=0)


def lines(of: Metrics) -> list[str]:
    return [line for line in of.text(of.reading()).decode().splitlines() if not line.startswith("#")]


def test_claims_are_counted_as_they_come_are_disrupted_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch)
    new, marked = claim(), claim("DisruptionReason")
    going = claim("DisruptionReason", "Drained", "InstanceTerminating", deleted=-50.0)
    for old, after in ((None, new), (new, marked), (marked, marked), (marked, going), (going, None)):
        found._claim_changed(Change("default-abcde", old, after))
    shown = lines(found)
    assert 'karpenter_nodeclaims_created_total{nodepool="default",reason="provisioned"} 1.0' in shown
    assert 'karpenter_nodeclaims_disrupted_total{nodepool="default",reason="disruptionreason"} 1.0' in shown
    assert 'karpenter_nodes_drained_total{nodepool="default"} 1.0' in shown
    assert 'karpenter_nodeclaims_terminated_total{capacity_type="",nodepool="default",zone=""} 1.0' in shown
    assert 'karpenter_nodeclaims_termination_duration_seconds_count{nodepool="default"} 1.0' in shown
    assert 'karpenter_nodeclaims_instance_termination_duration_seconds_count{nodepool="default"} 1.0' in shown


def test_a_claim_that_replaces_nodes_is_counted_under_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch)
    told = annotation(id="a@1", reason="Drifted", count=1, goes={"old": "uid-old"})
    found._claim_changed(Change("default-abcde", None, claim(annotations=told)))
    assert 'karpenter_nodeclaims_created_total{nodepool="default",reason="drifted"} 1.0' in lines(found)


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        (UNREACHABLE, 'nodeclaims_unhealthy_disrupted_total{condition="Unreachable",nodepool="default"} 1.0'),
        (REASONS["spot"], 'interruption_received_messages_total{message_type="spot"} 1.0'),
        (REASONS["maintenance"], 'interruption_received_messages_total{message_type="maintenance"} 1.0'),
    ],
)
def test_what_takes_a_node_away_is_counted_by_its_cause(
    monkeypatch: pytest.MonkeyPatch, reason: str, line: str
) -> None:
    found = metrics(monkeypatch)
    new = claim("Registered")
    conditions = set_condition(new.status.conditions, "DisruptionReason", "True", now=0.0, reason=reason, message="")
    taken = new.model_copy(update={"status": new.status.model_copy(update={"conditions": conditions})})
    found._claim_changed(Change("default-abcde", new, taken))
    assert f"karpenter_{line}" in lines(found)


def test_nodes_are_counted_when_they_join_and_when_they_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch)
    found._claim_changed(Change("default-abcde", claim("Launched"), claim("Launched", "Registered")))
    node, _ = ready_node("n1", deleted_at=VirtualClock().now() - 5.0)
    found._node_changed(Change("n1", node, None))
    shown = lines(found)
    for name in (
        "nodes_created_total",
        "nodes_terminated_total",
        "nodes_lifetime_duration_seconds_count",
        "nodes_termination_duration_seconds_count",
    ):
        assert f'karpenter_{name}{{nodepool="default"}} 1.0' in shown


def test_the_way_of_a_pod_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch)
    now = VirtualClock().now()
    waits, bound, runs = (
        pod("web", created_at=now - 7.0),
        pod("web", created_at=now - 7.0, node_name="n1"),
        running("web", "n1", created_at=now - 7.0),
    )
    for old, new in ((None, waits), (waits, bound), (bound, runs), (runs, runs), (runs, None)):
        found._pod_changed(Change("default/web", old, new))
    shown = lines(found)
    for name in ("bound", "startup"):
        assert f"karpenter_pods_{name}_duration_seconds_count 1.0" in shown
        assert f"karpenter_pods_{name}_duration_seconds_sum 7.0" in shown


def test_what_was_there_before_is_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch, synced=False)
    found._claim_changed(Change("default-abcde", None, claim()))
    found._pod_changed(Change("default/web", None, running("web", "n1")))
    shown = lines(found)
    assert not [line for line in shown if "created_total{" in line]
    assert "karpenter_pods_startup_duration_seconds_count 0.0" in shown


def test_decisions_and_what_budgets_allow_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch)
    drifted = Command(reason="Drifted", candidates=("n1",), claims=("n1",))
    badly_used = Command(reason="Underutilized", candidates=("n2", "n3"), claims=("n2", "n3"))
    found.decided(snapshot(pools=[pool()]), Decision(commands=(drifted, badly_used)))
    shown = lines(found)
    name = "karpenter_voluntary_disruption_decisions_total"
    assert f'{name}{{consolidation_type="",decision="delete",reason="drifted"}} 1.0' in shown
    assert f'{name}{{consolidation_type="multi",decision="delete",reason="underutilized"}} 1.0' in shown
    assert 'karpenter_nodepools_allowed_disruptions{nodepool="default",reason="Drifted"} 0.0' in shown
    assert "karpenter_cluster_state_synced 0.0" in shown


def test_a_decision_is_timed_and_tells_how_many_nodes_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch)
    types = [machine("large", cpu=8, price=0.8)]
    node, behind = ready_node("n1", cpu=8)
    pools = [pool(consolidate_after=0.0, budgets=(Budget(nodes="100%"),))]
    empty = snapshot(types=types, nodes=[node], claims=[behind], pools=pools, now=10_000.0)
    decision = found.decide(empty, Circumstances(), Policy())
    assert [command.reason for command in decision.commands] == ["Empty"]
    found.decide(empty, Circumstances(), Policy(), only=frozenset())  # a second look at nothing tells nothing of all
    shown = lines(found)
    assert 'karpenter_voluntary_disruption_eligible_nodes{reason="Empty"} 1.0' in shown
    assert "karpenter_voluntary_disruption_decision_evaluation_duration_seconds_count 2.0" in shown


def test_a_plan_is_timed_and_what_can_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch)
    found.timed(plan)(snapshot(pods=[pod("huge", cpu=99)], types=[machine("small", cpu=2, price=0.1)]))
    shown = lines(found)
    assert "karpenter_scheduler_scheduling_duration_seconds_count 1.0" in shown
    assert "karpenter_scheduler_unschedulable_pods_count 1.0" in shown
    assert "karpenter_scheduler_unfinished_work_seconds 0.0" in shown
    prices = [line for line in shown if "offering_price_estimate{" in line]
    assert prices
    assert all('instance_type="small"' in line and line.endswith(" 0.1") for line in prices)


def test_a_reading_tells_of_nodes_and_pods_in_kubernetes_units() -> None:
    node, _ = ready_node("n1", cpu=8, memory="16Gi")
    pods = (
        running("web", "n1", cpu="2"),
        running("daemon", "n1", cpu="500m", owner_kind="DaemonSet"),
        pod("waits", cpu="1"),
        pod("wrong", fault="spec.affinity: no"),
    )
    reading = Reading(
        now=100.0, synced=True, pods=pods, pending=pods[2:], nodes=(node,), claims=(), pools=(), planning=3.0
    )
    told = {
        (family.name, *sample.labels.values()): sample.value for family in gauges(reading) for sample in family.samples
    }
    place = ("n1", "default", *(node.labels.get(key, "") for key in (INSTANCE_TYPE, CAPACITY_TYPE, ZONE, ARCH)))
    assert told["karpenter_nodes_total_pod_requests", *place, "cpu"] == 2.5
    assert told["karpenter_nodes_total_daemon_requests", *place, "cpu"] == 0.5
    assert told["karpenter_nodes_allocatable", *place, "memory"] == 16 * 2**30
    assert told["karpenter_cluster_utilization_percent", "cpu"] == 100 * 2.5 / 8
    assert told["karpenter_pods_state", "web", "default", "Running", *place] == 1.0
    assert told["karpenter_pods_state", "waits", "default", "Pending", "", "", "", "", "", ""] == 1.0
    assert told["karpenter_scheduler_ignored_pods_count",] == 1.0
    assert told["karpenter_scheduler_unfinished_work_seconds",] == 3.0


async def test_calls_of_a_provider_are_counted_and_their_errors_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch)

    async def no_machines() -> Sequence[Machine]:
        return ()

    async def gone(_: ProviderID) -> Machine:
        raise MachineNotFoundError("m1")

    cloud = cast(Provider, SimpleNamespace(name="cloud", node_class_kind="CloudNodeClass", list=no_machines, get=gone))
    (provider,) = found.metered({"CloudNodeClass": cloud}).values()
    assert await provider.list() == ()
    with pytest.raises(MachineNotFoundError):
        await provider.get(ProviderID("m1"))
    shown = lines(found)
    assert 'karpenter_cloudprovider_duration_seconds_count{method="List",provider="cloud"} 1.0' in shown
    error = 'error="MachineNotFoundError",method="Get",provider="cloud"'
    assert f"karpenter_cloudprovider_errors_total{{{error}}} 1.0" in shown


def test_every_series_of_the_table_is_served_with_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch)
    text = found.text(found.reading()).decode()
    served = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE))
    assert served == {name: each.kind for name, each in SERIES.items()}


@pytest.mark.integration
async def test_a_running_controller_serves_them_on_the_loopback(stage: Stage) -> None:
    port = free_port()
    await stage.node_class()
    await stage.pool(limits={"cpu": "100"})
    async with stage.controller(metrics_port=port):
        await stage.pod("web")
        await until_running(stage, "web")
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            text = await answer.text()
    wanted = [
        'karpenter_nodepools_limit{nodepool="default",resource_type="cpu"} 100.0',
        'karpenter_nodepools_usage{nodepool="default",resource_type="nodes"} 1.0',
        'karpenter_nodeclaims_created_total{nodepool="default",reason="provisioned"} 1.0',
        "karpenter_pods_startup_duration_seconds_count 1.0",
        "karpenter_cluster_state_synced 1.0",
    ]
    assert [line for line in wanted if line not in text.splitlines()] == []
    assert "karpenter_scheduler_scheduling_duration_seconds_count" in text
