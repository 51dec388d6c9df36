"""The controller may die at any step while it fills a static pool: its successor buys only what is missing."""

from __future__ import annotations

import asyncio

import pytest

from autonodes.controllers.program import LEASE_NAME, LEASE_NAMESPACE
from autonodes.kube.kubeconfig import Credentials
from autonodes.kube.resources import LEASES
from autonodes.verify.doom import Doom, Doomed, Gate
from controllers.stage import Stage
from controlplane import RunningControlPlane

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("step", [4, 7, 9, 11, 14])
async def test_a_death_at_any_step_buys_no_replica_twice(plane: RunningControlPlane, stage: Stage, step: int) -> None:
    await stage.node_class()
    await stage.pool("fixed", replicas=2)
    doom = Doom(step)
    gate = Gate(plane.kubeconfig, doom)
    async with gate.running():
        watching = asyncio.create_task(gate.watch_doom())
        provider = Doomed(stage.cloud, doom)
        async with stage.controller(credentials=Credentials(server=gate.url), provider=provider):  # type: ignore[arg-type]
            await asyncio.wait_for(doom.dead.wait(), 30)
        await watching
    await stage.admin.delete(LEASES, LEASE_NAME, LEASE_NAMESPACE)
    async with stage.controller():
        await stage.until(f"two nodes after {doom.last}", lambda: _ready(stage, 2))
    assert len(stage.cloud.purchases) == 2


async def _ready(stage: Stage, count: int) -> bool:
    claims = await stage.claims()
    return len(claims) == count and all(claim.condition("Ready") for claim in claims)
