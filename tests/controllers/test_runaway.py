"""However much goes wrong after a purchase, the number of purchases stays bounded, on the real API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from autonodes.kube.errors import ApiError, NotFoundError
from autonodes.kube.resources import NODEPOOLS, NODES
from autonodes.verify.kubelets import SCHEDULER
from controllers.stage import Stage
from controllers.test_program import until_running

pytestmark = pytest.mark.integration

FOREIGN = {"key": "foreign", "value": "yes", "effect": "NoSchedule"}


@contextlib.asynccontextmanager
async def somebody_taints_every_node(stage: Stage) -> AsyncIterator[None]:
    """As long as the block lasts; then all of it is taken off."""
    task = asyncio.create_task(_taint(stage))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for node in await stage.nodes():
        kept = [taint for taint in node["spec"].get("taints") or () if taint["key"] != FOREIGN["key"]]
        with contextlib.suppress(NotFoundError):
            await stage.admin.merge_patch(NODES, node["metadata"]["name"], {"spec": {"taints": kept}})


async def _taint(stage: Stage) -> None:
    while True:
        for node in await stage.nodes():
            taints = node["spec"].get("taints") or []
            if FOREIGN not in taints:
                version = node["metadata"]["resourceVersion"]
                patch = {"metadata": {"resourceVersion": version}, "spec": {"taints": [*taints, FOREIGN]}}
                with contextlib.suppress(ApiError):
                    await stage.admin.merge_patch(NODES, node["metadata"]["name"], patch)
        await asyncio.sleep(0.02)


async def pool_shows(stage: Stage, type_: str, status: str) -> bool:
    conditions = (await stage.admin.get(NODEPOOLS, "default")).get("status", {}).get("conditions") or ()
    return any((each["type"], each["status"]) == (type_, status) for each in conditions)


async def _plans_more(stage: Stage, count: int) -> None:
    """Wait until so many snapshots more were taken: each asks for what is on sale."""
    seen = stage.cloud.calls.count("instance_types")
    await stage.until(f"{count} plans more", lambda: stage.cloud.calls.count("instance_types") >= seen + count)


@pytest.mark.parametrize("consolidate_after", ["0s", "Never"])
async def test_with_every_new_node_tainted_by_somebody_else_the_count_stays_bounded(
    stage: Stage, consolidate_after: str
) -> None:
    await stage.node_class()
    await stage.pool(disruption={"consolidateAfter": consolidate_after})
    async with stage.controller(replan_after=0.3):
        async with somebody_taints_every_node(stage):
            await stage.pod("web", schedulerName=SCHEDULER)
            await stage.until("the pool stops buying", lambda: pool_shows(stage, "NodesUsable", "False"))
            await stage.until("the pod is told", lambda: _is_told(stage, "nothing more is bought until that is mended"))
            bought = len(stage.cloud.purchases)
            await _plans_more(stage, 6)
            assert len(stage.cloud.purchases) == bought
            assert bought <= 5
        if consolidate_after == "Never":
            await until_running(stage, "web")
            await stage.until("the pool buys again", lambda: pool_shows(stage, "NodesUsable", "True"))


async def _is_told(stage: Stage, text: str) -> bool:
    return any(text in message for message in await stage.messages("web"))


async def test_a_pool_buys_no_faster_than_it_may_and_says_so(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    await _rate(stage, burst=2, per_minute=1)
    for number in range(3):
        await stage.pod(f"web-{number}", cpu="15")
    async with stage.controller(replan_after=0.3):
        await stage.until("one is told", lambda: _any_told(stage, "buys 2 nodes at once at most"))
        assert len(stage.cloud.purchases) <= 2
        await _rate(stage, burst=2, per_minute=600)
        await until_running(stage, "web-0", "web-1", "web-2")
    assert len(stage.cloud.purchases) == 3


async def _rate(stage: Stage, *, burst: int, per_minute: int) -> None:
    given = {"autonodes.io/purchase-burst": str(burst), "autonodes.io/purchases-per-minute": str(per_minute)}
    await stage.admin.merge_patch(NODEPOOLS, "default", {"metadata": {"annotations": given}})


async def _any_told(stage: Stage, text: str) -> bool:
    messages = [message for number in range(3) for message in await stage.messages(f"web-{number}")]
    return any(text in message for message in messages)
