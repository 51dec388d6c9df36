"""What Prometheus is told."""

from __future__ import annotations

from typing import cast

import aiohttp
import pytest
from prometheus_client import generate_latest

from autonodes.controllers.metrics import Metrics
from autonodes.core.disruption import Command, Decision
from autonodes.kube.cache import Change
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from clock import VirtualClock
from controllers.claimbook import claim
from controllers.stage import Stage
from controllers.test_program import until_running
from core.parts import pool, snapshot
from syncer.controlplane.temporary import free_port


def metrics(monkeypatch: pytest.MonkeyPatch, *, synced: bool = True) -> Metrics:
    state = ClusterState(cast(KubeClient, None), VirtualClock())
    monkeypatch.setattr(type(state.nodeclaims), "is_synced", property(lambda _: synced))
    return Metrics(state, VirtualClock(), port=0)


def lines(of: Metrics) -> list[str]:
    return [line for line in generate_latest(of.registry).decode().splitlines() if not line.startswith("#")]


def test_claims_are_counted_as_they_come_are_disrupted_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch)
    new, marked = claim(), claim("DisruptionReason")
    going = claim("DisruptionReason", deleted=-50.0)
    for old, after in ((None, new), (new, marked), (marked, marked), (marked, going), (going, None)):
        found._claim_changed(Change("default-abcde", old, after))
    shown = lines(found)
    assert 'karpenter_nodeclaims_created_total{nodepool="default"} 1.0' in shown
    assert 'karpenter_nodeclaims_disrupted_total{nodepool="default",reason="disruptionreason"} 1.0' in shown
    assert 'karpenter_nodeclaims_terminated_total{nodepool="default"} 1.0' in shown
    assert 'karpenter_nodeclaims_termination_duration_seconds_count{nodepool="default"} 1.0' in shown


def test_what_was_there_before_is_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch, synced=False)
    found._claim_changed(Change("default-abcde", None, claim()))
    assert not [line for line in lines(found) if "created_total{" in line]


def test_decisions_and_what_budgets_allow_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics(monkeypatch)
    command = Command(reason="Drifted", candidates=("n1",), claims=("n1",))
    found.decided(snapshot(pools=[pool()]), Decision(commands=(command,)))
    shown = lines(found)
    assert 'karpenter_voluntary_disruption_decisions_total{decision="delete",reason="drifted"} 1.0' in shown
    assert 'karpenter_nodepools_allowed_disruptions{nodepool="default",reason="Drifted"} 0.0' in shown
    assert "karpenter_cluster_state_synced 0.0" in shown


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
        'karpenter_nodeclaims_created_total{nodepool="default"} 1.0',
        "karpenter_cluster_state_synced 1.0",
    ]
    assert [line for line in wanted if line not in text.splitlines()] == []
    assert "karpenter_scheduler_scheduling_duration_seconds_count" in text
