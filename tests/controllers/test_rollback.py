"""Groups of pods get all their machines, or none stays."""

from __future__ import annotations

import pytest

from autonodes.core.labels import POD_GROUP, POD_GROUP_MIN_MEMBER, REQUIRED_TOPOLOGY, ZONE
from controllers.stage import Stage
from controllers.test_program import until_running

pytestmark = pytest.mark.integration


async def group(stage: Stage, name: str, count: int, **annotations: str) -> list[str]:
    """Pods that need a machine each."""
    labels = {POD_GROUP: name, POD_GROUP_MIN_MEMBER: str(count)}
    names = [f"{name}-{number}" for number in range(count)]
    for each in names:
        await stage.pod(each, cpu="1500m", labels=labels, annotations=annotations)
    return names


async def test_a_group_runs_when_all_its_machines_are_there(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        names = await group(stage, "train", 3)
        await until_running(stage, *names)
        claims = await stage.claims()
    assert {claim.metadata.annotations[POD_GROUP] for claim in claims} == {f"{stage.namespace}/train"}


async def test_all_its_machines_are_in_the_zone_that_holds_them(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        names = await group(stage, "train", 3, **{REQUIRED_TOPOLOGY: ZONE})
        await until_running(stage, *names)
        claims = await stage.claims()
    assert len({claim.metadata.labels[ZONE] for claim in claims}) == 1


async def test_what_was_bought_for_a_group_that_can_not_be_whole_is_given_back(stage: Stage) -> None:
    stage.cloud.stock = {(size.name, zone): 0 for size in stage.cloud.sizes for zone in ("a", "b")}
    stage.cloud.stock["small", "a"] = 2
    await stage.node_class()
    await stage.pool(disruption={"consolidateAfter": "Never"})
    async with stage.controller():
        await group(stage, "train", 3)
        await stage.until("something was bought", lambda: stage.cloud.purchases)
        await stage.until("nothing is left", stage.is_empty)
        await stage.until("the pods are told", lambda: _told(stage, "train-0"))


async def _told(stage: Stage, name: str) -> bool:
    return "FailedScheduling" in await stage.events(name)


async def test_others_keep_what_they_have_when_a_group_gives_back(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        await stage.pod("alone", cpu="1500m")
        await until_running(stage, "alone")
        stage.cloud.sold_out = {(size.name, zone) for size in stage.cloud.sizes for zone in ("a", "b")}
        await group(stage, "train", 2)
        await stage.until("the group is told", lambda: _told(stage, "train-0"))
        assert len(await stage.claims()) == 1
        assert await stage.phase("alone") == "Running"
