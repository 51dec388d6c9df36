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
