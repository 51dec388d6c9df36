"""What is set for all pools reaches the planner."""

from __future__ import annotations

import pytest

from autonodes.core.labels import INSTANCE_TYPE
from controllers.stage import Stage

pytestmark = pytest.mark.integration


async def test_the_policy_on_min_values_can_be_set(stage: Stage) -> None:
    """Strict: what offers too little choice is not bought. A controller that is started with BestEffort buys it."""
    await stage.node_class()
    several = {"key": INSTANCE_TYPE, "operator": "Exists", "minValues": 50}
    await stage.pool(template={"requirements": [several]})
    await stage.pod("web")
    async with stage.controller():
        await stage.until("the pod is told", lambda: _told(stage, "FailedScheduling"))
        assert not stage.cloud.records()
    async with stage.controller(min_values_policy="BestEffort"):
        await stage.until("the pod runs", lambda: _runs(stage))
    (claim,) = await stage.claims()
    (requirement,) = [each for each in claim.spec.requirements if each.key == INSTANCE_TYPE and each.min_values]
    assert requirement.min_values == len(requirement.values)


async def _told(stage: Stage, reason: str) -> bool:
    return reason in await stage.events("web")


async def _runs(stage: Stage) -> bool:
    return await stage.phase("web") == "Running"
