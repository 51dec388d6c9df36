"""Static pools in the whole controller: as many nodes as they say, through scaling, losses and deaths."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autonodes.core.labels import NODE_POOL
from autonodes.kube.resources import NODECLAIMS, NODEPOOLS
from controllers.stage import CLASS, Stage

pytestmark = pytest.mark.integration


async def static(stage: Stage, replicas: int, **spec: Any) -> None:
    await stage.pool("fixed", replicas=replicas, **spec)


async def scale(stage: Stage, replicas: int) -> None:
    await stage.admin.merge_patch(NODEPOOLS, "fixed", {"spec": {"replicas": replicas}})


async def ready(stage: Stage, count: int) -> bool:
    """Exactly so many claims, all of them ready."""
    claims = await stage.claims()
    return len(claims) == count and all(claim.condition("Ready") for claim in claims)


async def test_a_static_pool_has_as_many_nodes_as_it_says(stage: Stage) -> None:
    await stage.node_class()
    await static(stage, 2)
    async with stage.controller():
        await stage.until("two nodes", lambda: ready(stage, 2))
        assert {claim.metadata.labels[NODE_POOL] for claim in await stage.claims()} == {"fixed"}
        await asyncio.sleep(1.0)  # longer than an empty node of another pool would stay
        assert await ready(stage, 2)
        assert len(stage.cloud.purchases) == 2
        await scale(stage, 3)
        await stage.until("three nodes", lambda: ready(stage, 3))
        await scale(stage, 1)
        await stage.until("one node", lambda: ready(stage, 1))
        assert len(stage.cloud.purchases) == 3
        await scale(stage, 0)
        await stage.until("nothing is left", stage.is_empty)


async def test_what_is_lost_is_made_again_and_a_limit_holds(stage: Stage) -> None:
    await stage.node_class()
    await static(stage, 3, limits={"nodes": "2"})
    async with stage.controller():
        await stage.until("two nodes", lambda: ready(stage, 2))
        (first, _) = await stage.claims()
        await stage.admin.delete(NODECLAIMS, first.name)
        await stage.until("another one", lambda: _replaced(stage, first.name), seconds=40)
        assert len(stage.cloud.purchases) == 3


async def test_no_pod_makes_a_static_pool_grow(stage: Stage) -> None:
    await stage.node_class()
    await static(stage, 0)
    await stage.pod("web")
    async with stage.controller():
        await stage.until("it is told", lambda: _told(stage))
        assert await stage.claims() == []


async def test_a_successor_buys_only_what_is_missing(stage: Stage) -> None:
    await static(stage, 3)
    await stage.node_class()
    async with stage.controller():
        await stage.until("a claim is there", lambda: _some_claim(stage))
    async with stage.controller():
        await stage.until("three nodes", lambda: ready(stage, 3))
        assert len(stage.cloud.purchases) == 3


async def test_a_pool_without_a_node_class_buys_nothing(stage: Stage) -> None:
    await static(stage, 1)
    async with stage.controller():
        await stage.until("the pool is judged", lambda: _not_ready(stage))
        assert await stage.claims() == []
        await stage.node_class()
        await stage.until("one node", lambda: ready(stage, 1))
    assert await stage.admin.list(CLASS)


async def test_drifted_nodes_are_replaced_one_ahead_at_a_time_and_the_pool_never_has_too_few(stage: Stage) -> None:
    await stage.node_class()
    await static(stage, 2, disruption={"budgets": [{"nodes": "1"}]})
    async with stage.controller():
        await stage.until("two nodes", lambda: ready(stage, 2))
        before = {claim.name for claim in await stage.claims()}
        seen: set[tuple[int, int]] = set()
        await static(stage, 2, template={"expireAfter": "24h"}, disruption={"budgets": [{"nodes": "1"}]})
        await stage.until("both were replaced", lambda: _anew(stage, before, seen))
        assert min(useful for useful, _ in seen) == 2
        assert max(bought for _, bought in seen) == 3
        assert len(stage.cloud.purchases) == 4


async def _anew(stage: Stage, before: set[str], seen: set[tuple[int, int]]) -> bool:
    """Whether none of those before is left; how many are ready to stay, and how many are there at all, is noted."""
    claims = await stage.claims()
    useful = [claim for claim in claims if claim.condition("Ready") and claim.metadata.deletion_timestamp is None]
    seen.add((len(useful), len(claims)))
    return not before & {claim.name for claim in claims} and await ready(stage, 2)


async def test_without_room_for_one_more_a_drifted_static_node_stays_and_says_why(stage: Stage) -> None:
    await stage.node_class()
    await static(stage, 1, limits={"nodes": "1"})
    async with stage.controller():
        await stage.until("one node", lambda: ready(stage, 1))
        (kept,) = await stage.claims()
        await static(stage, 1, limits={"nodes": "1"}, template={"expireAfter": "24h"})
        await stage.until("it is told", lambda: _blocked(stage, kept.name))
        assert [claim.name for claim in await stage.claims()] == [kept.name]


async def _blocked(stage: Stage, name: str) -> bool:
    return "DisruptionBlocked" in await stage.events(name)


async def _replaced(stage: Stage, gone: str) -> bool:
    names = {claim.name for claim in await stage.claims()}
    return gone not in names and await ready(stage, 2)


async def _told(stage: Stage) -> bool:
    return "FailedScheduling" in await stage.events("web")


async def _some_claim(stage: Stage) -> bool:
    return bool(await stage.claims())


async def _not_ready(stage: Stage) -> bool:
    body = await stage.admin.get(NODEPOOLS, "fixed")
    conditions = (body.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "False" for each in conditions)
