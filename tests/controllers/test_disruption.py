"""Empty nodes go, and only those that may."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autonodes.kube.resources import NODES, PODS
from autonodes.verify.kubelets import SCHEDULER
from controllers.stage import Stage
from controllers.test_program import until_running

pytestmark = pytest.mark.integration


async def nodes_with_a_pod_each(stage: Stage, *names: str) -> None:
    for name in names:
        await stage.pod(name, cpu="1500m")
    await until_running(stage, *names)


async def tainted(stage: Stage) -> list[str]:
    return [
        node["metadata"]["name"]
        for node in await stage.nodes()
        if any(taint["key"] == "karpenter.sh/disrupted" for taint in node["spec"].get("taints") or ())
    ]


async def initialized(stage: Stage, count: int) -> bool:
    return [claim.condition("Initialized") for claim in await stage.claims()] == [True] * count


async def test_a_node_with_a_pod_on_it_stays(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        await nodes_with_a_pod_each(stage, "web")
        await asyncio.sleep(3)
        assert len(await stage.claims()) == 1
        assert not await tainted(stage)


async def test_a_node_is_left_alone_until_its_pool_says_that_it_is_quiet(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool(disruption={"consolidateAfter": "4s"})
    async with stage.controller():
        await nodes_with_a_pod_each(stage, "web")
        await stage.delete_pod("web")
        await stage.until("the pod's going is noted", lambda: _has_pod_event(stage))
        await asyncio.sleep(1.5)
        assert len(await stage.claims()) == 1
        await stage.until("nothing is left", stage.is_empty)


async def test_what_no_longer_holds_when_it_is_looked_at_again_is_not_done(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller(disruption_validation=4.0) as program:
        await nodes_with_a_pod_each(stage, "web")
        (before,) = await stage.claims()
        await stage.delete_pod("web")
        await stage.until("it is to go", lambda: program.disruption.is_proposed(before.name))
        await stage.pod("next", cpu="1500m")
        await until_running(stage, "next")
        await stage.until("it is looked at again", lambda: not program.disruption.is_proposed(before.name))
        (after,) = await stage.claims()
        assert (after.name, after.metadata.deletion_timestamp) == (before.name, None)
        assert not await tainted(stage)


async def _has_pod_event(stage: Stage) -> bool:
    return any(claim.status.last_pod_event_time for claim in await stage.claims())


async def test_never_means_never(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool(disruption={"consolidateAfter": "Never"})
    async with stage.controller():
        await nodes_with_a_pod_each(stage, "web")
        await stage.delete_pod("web")
        await asyncio.sleep(3)
        assert len(await stage.claims()) == 1


async def test_a_budget_bounds_how_many_go_at_once(stage: Stage) -> None:
    stage.cloud.deletion_takes = 10_000
    await stage.node_class()
    await stage.pool(disruption={"consolidateAfter": "0s", "budgets": [{"nodes": "1"}]})
    async with stage.controller():
        await nodes_with_a_pod_each(stage, "a", "b", "c")
        await stage.until("all initialized", lambda: initialized(stage, 3))
        for name in ("a", "b", "c"):
            await stage.delete_pod(name)
        await stage.until("one is going", lambda: _going(stage))
        await asyncio.sleep(2.5)
        assert len(await _going(stage)) == 1
        stage.cloud.deletion_takes = 1
        await stage.until("nothing is left", stage.is_empty)


async def _going(stage: Stage) -> list[str]:
    return [claim.name for claim in await stage.claims() if claim.metadata.deletion_timestamp]


async def test_do_not_disrupt_keeps_an_empty_node(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool(template={})
    async with stage.controller():
        await nodes_with_a_pod_each(stage, "web")
        (claim,) = await stage.claims()
        annotation = {"karpenter.sh/do-not-disrupt": "true"}
        await stage.admin.merge_patch(NODES, claim.name, {"metadata": {"annotations": annotation}})
        await stage.delete_pod("web")
        await asyncio.sleep(3)
        assert len(await stage.claims()) == 1
        await stage.admin.merge_patch(NODES, claim.name, {"metadata": {"annotations": dict.fromkeys(annotation)}})
        await stage.until("nothing is left", stage.is_empty)


async def test_a_taint_that_a_dead_controller_left_is_taken_off(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        await nodes_with_a_pod_each(stage, "web")
        (claim,) = await stage.claims()
    taint = {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}
    await stage.admin.merge_patch(NODES, claim.name, {"spec": {"taints": [taint]}})
    async with stage.controller():
        await stage.until("the taint is gone", lambda: _untainted(stage))
        assert len(await stage.claims()) == 1


async def _untainted(stage: Stage) -> bool:
    return not await tainted(stage)


async def test_a_pod_that_comes_to_a_node_that_is_going_is_asked_to_leave_in_order(stage: Stage) -> None:
    """Critical pods leave when the others are gone."""
    stage.kubelets.answer_deletions = False
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        await stage.pod("web", cpu="100m")
        await stage.pod("critical", cpu="100m", priorityClassName="system-cluster-critical")
        await stage.pod("stays", cpu="100m", schedulerName=SCHEDULER, tolerations=[{"operator": "Exists"}])
        await until_running(stage, "web", "critical", "stays")
        (claim,) = await stage.claims()
        await stage.admin.delete(NODES, claim.name)
        await stage.until("the first is asked to go", lambda: _is_leaving(stage, "web"))
        await asyncio.sleep(1)
        assert not await _is_leaving(stage, "critical")
        stage.kubelets.answer_deletions = True
        await stage.until("its machine is gone", lambda: _is_gone(stage, claim.name, "stays"))


async def _is_leaving(stage: Stage, pod: str) -> bool:
    return bool((await stage.admin.get(PODS, pod, stage.namespace))["metadata"].get("deletionTimestamp"))


async def _is_gone(stage: Stage, claim: str, pod: str) -> bool:
    """Whether the claim is; as long as its machine is there the pod must not be asked to leave it."""
    leaving = pod in {each["metadata"]["name"] for each in await stage.admin.list(PODS, stage.namespace) if _ends(each)}
    assert not (leaving and stage.cloud.records())
    return all(each.name != claim for each in await stage.claims())


def _ends(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]
