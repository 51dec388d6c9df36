"""Machines break and are taken away: their nodes are replaced, and no pod is deleted before its machine is dead."""

from __future__ import annotations

import time
from typing import Any, Literal

import pytest

from autonodes.kube.resources import NODES, PDBS, PODS
from autonodes.provider import Interruption, ProviderID, RepairPolicy
from controllers.stage import Stage
from controllers.test_program import only_claim, until_running

pytestmark = pytest.mark.integration

NOTICE = 20.0
"""Seconds that machines have which are taken away; the drain ends fifteen before."""

SILENT = RepairPolicy(condition_type="Ready", condition_status="Unknown", toleration=0.5)


async def _owned(stage: Stage, name: str) -> None:
    """A pod of a ReplicaSet (of which only the reference exists: no controller makes it anew here)."""
    await stage.pod(name)
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "0" * 8, "controller": True}
    await stage.admin.merge_patch(PODS, name, {"metadata": {"ownerReferences": [owner]}}, stage.namespace)


async def _names(stage: Stage) -> set[str]:
    return {claim.name for claim in await stage.claims()}


async def test_a_silent_node_is_replaced_and_its_pods_end_with_the_machine(stage: Stage) -> None:
    stage.cloud.policies = (SILENT,)
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller(repair_drain=1.0):
        await until_running(stage, "web")
        broken = await stage.until("it is ready", lambda: _ready(stage))
        stage.kubelets.unready.add(broken)
        await stage.until("its machine is gone", lambda: not stage.cloud.records())
        await stage.until("nothing is left of it", stage.is_empty)
        assert await stage.phase_or_gone("web") == ""
        assert "Unreachable" in await stage.events(broken)


async def _ready(stage: Stage) -> str:
    return next((claim.name for claim in await stage.claims() if claim.condition("Ready")), "")


async def test_of_two_silent_nodes_the_second_waits_for_the_first(stage: Stage) -> None:
    stage.cloud.policies = (SILENT,)
    stage.cloud.deletion_takes = 40
    await stage.node_class()
    await stage.pool()
    for name in ("one", "two"):
        await stage.pod(name, cpu="12")
    async with stage.controller(repair_drain=0.5):
        await until_running(stage, "one", "two")
        names = await stage.until("both are ready", lambda: _both_ready(stage))
        stage.kubelets.unready |= names
        await stage.until("one is being replaced", lambda: _leaving(stage))
        while len(await _names(stage) & names) == 2:
            assert len(await _leaving(stage)) <= 1
        await stage.until("both were replaced", lambda: _none_of(stage, names))


async def _both_ready(stage: Stage) -> set[str]:
    names = {claim.name for claim in await stage.claims() if claim.condition("Ready")}
    return names if len(names) == 2 else set()


async def _leaving(stage: Stage) -> list[str]:
    return [claim.name for claim in await stage.claims() if claim.metadata.deletion_timestamp]


async def _none_of(stage: Stage, names: set[str]) -> bool:
    return not await _names(stage) & names


async def test_a_preserved_node_is_not_repaired(stage: Stage) -> None:
    stage.cloud.policies = (SILENT,)
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await until_running(stage, "web")
        kept = await stage.until("it is ready", lambda: _ready(stage))
        until: dict[str, Any] = {"metadata": {"annotations": {"autonodes.io/preserve-until": "2999-01-01T00:00:00Z"}}}
        await stage.admin.merge_patch(NODES, kept, until)
        stage.kubelets.unready.add(kept)
        await stage.until("it is cordoned", lambda: _cordoned(stage, kept), seconds=20)
        assert await _names(stage) == {kept}
        assert not await _leaving(stage)


async def _cordoned(stage: Stage, name: str) -> bool:
    return bool((await stage.admin.get(NODES, name))["spec"].get("unschedulable"))


async def test_what_replaces_an_interrupted_machine_is_bought_while_it_is_drained(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    await _owned(stage, "web")
    budget = {"metadata": {"name": "web"}, "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}}}
    await stage.admin.create(PDBS, budget, stage.namespace)
    async with stage.controller():
        await until_running(stage, "web")
        taken = await stage.until("it is ready", lambda: _ready(stage))
        provider_id = ProviderID((await only_claim(stage)).status.provider_id)
        stage.cloud.notices = [Interruption(provider_id=provider_id, kind="spot", at=time.time() + 120, message="bye")]
        await stage.until("another one is bought", lambda: len(stage.cloud.purchases) == 2, seconds=25)
        assert any(record["provider_id"] == provider_id for record in stage.cloud.records())
        node = await stage.admin.get(NODES, taken)
        assert "karpenter.sh/disrupted" in {taint["key"] for taint in node["spec"].get("taints") or ()}
        assert await stage.phase("web") == "Running"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("spot", "SpotInterrupted"), ("maintenance", "ScheduledMaintenance"), ("host-failure", "HostFailed")],
)
async def test_an_interrupted_machine_is_gone_within_its_notice_whatever_holds_its_pods(
    stage: Stage, kind: Literal["spot", "maintenance", "host-failure"], reason: str
) -> None:
    await stage.node_class()
    await stage.pool()
    await stage.pod("web", annotations={"karpenter.sh/do-not-disrupt": "true"}, terminationGracePeriodSeconds=1)
    budget = {"metadata": {"name": "web"}, "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}}}
    await stage.admin.create(PDBS, budget, stage.namespace)
    async with stage.controller():
        await until_running(stage, "web")
        taken = await stage.until("it is ready", lambda: _ready(stage))
        provider_id = ProviderID((await only_claim(stage)).status.provider_id)
        at = time.time() + NOTICE
        stage.cloud.notices = [Interruption(provider_id=provider_id, kind=kind, at=at, message="")]
        await stage.until("its machine is gone", lambda: _is_off(stage, provider_id), seconds=NOTICE + 20)
        assert time.time() < at
        assert reason in await stage.events(taken)


async def _is_off(stage: Stage, provider_id: str) -> bool:
    return all(record["provider_id"] != provider_id for record in stage.cloud.records())
