"""The controller may die at any step while it fills a static pool: its successor buys only what is missing."""

from __future__ import annotations

import pytest

from controllers.doom import Doom, play_until_doom
from controllers.stage import Stage
from controlplane import RunningControlPlane

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("step", [4, 7, 9, 11, 14])
async def test_a_death_at_any_step_buys_no_replica_twice(plane: RunningControlPlane, stage: Stage, step: int) -> None:
    await stage.node_class()
    await stage.pool("fixed", replicas=2)
    doom = Doom(step)
    await play_until_doom(plane, stage, doom, stage.until("two nodes", lambda: _ready(stage, 2)))
    assert doom.last, f"all was over after {doom.steps} steps"
    await stage.forget_the_lease()
    async with stage.controller():
        await stage.until(f"two nodes after {doom.last}", lambda: _ready(stage, 2))
    assert len(stage.cloud.purchases) == 2


async def _ready(stage: Stage, count: int) -> bool:
    claims = await stage.claims()
    return len(claims) == count and all(claim.condition("Ready") for claim in claims)


@pytest.mark.parametrize("step", [3, 8, 13])
async def test_a_death_while_a_static_pool_drifts_leaves_it_with_as_many_nodes_as_it_says(
    plane: RunningControlPlane, stage: Stage, step: int
) -> None:
    await stage.node_class()
    await stage.pool("fixed", replicas=1)
    async with stage.controller():
        await stage.until("one node", lambda: _ready(stage, 1))
        (old,) = await stage.claims()
    await stage.forget_the_lease()
    await stage.pool("fixed", replicas=1, template={"expireAfter": "24h"})
    doom = Doom(step)
    await play_until_doom(plane, stage, doom, stage.until("it is replaced", lambda: _replaced(stage, old.name)))
    assert doom.last, f"all was over after {doom.steps} steps"
    await stage.forget_the_lease()
    async with stage.controller():
        await stage.until(f"it is replaced after {doom.last}", lambda: _replaced(stage, old.name))
    assert len(stage.cloud.purchases) == 2


async def _replaced(stage: Stage, old: str) -> bool:
    return await _ready(stage, 1) and old not in {claim.name for claim in await stage.claims()}
