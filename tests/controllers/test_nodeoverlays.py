"""Overlays in the whole controller: prices decide what is bought, added capacity is planned, contradictions show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from autonodes.core.labels import INSTANCE_TYPE
from autonodes.kube.resources import NODEOVERLAYS
from controllers.stage import Stage

pytestmark = pytest.mark.integration

DONGLE = "example.com/dongle"


@pytest.fixture(autouse=True)
async def swept(stage: Stage) -> AsyncIterator[None]:
    yield
    for body in await stage.admin.list(NODEOVERLAYS):
        await stage.admin.delete(NODEOVERLAYS, body["metadata"]["name"])


async def overlay(stage: Stage, name: str, instance_type: str, **spec: Any) -> None:
    requirement = {"key": INSTANCE_TYPE, "operator": "In", "values": [instance_type]}
    body = {"metadata": {"name": name}, "spec": {"requirements": [requirement], **spec}}
    await stage.admin.apply(NODEOVERLAYS, body, field_manager="test")


async def validation(stage: Stage, name: str) -> tuple[str, str]:
    body = await stage.admin.get(NODEOVERLAYS, name)
    conditions = (body.get("status") or {}).get("conditions") or ()
    found = next((each for each in conditions if each["type"] == "ValidationSucceeded"), None)
    return (found["status"], found["reason"]) if found else ("", "")


async def test_the_price_of_an_overlay_decides_what_is_bought(stage: Stage) -> None:
    await stage.node_class()
    await overlay(stage, "cheap", "large", price="0.001")
    async with stage.controller():
        await stage.until("judged", lambda: _is(stage, "cheap", "True", "ValidationSucceeded"))
        await stage.pool()
        await stage.pod("web")
        await stage.until("a claim is launched", lambda: _launched(stage))
    (claim,) = await stage.claims()
    assert claim.metadata.labels[INSTANCE_TYPE] == "large"


async def test_what_an_overlay_adds_is_planned_and_bought(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    await overlay(stage, "dongles", "medium", capacity={DONGLE: "2"})
    container = {"name": "main", "image": "none", "resources": {"requests": {DONGLE: "1"}, "limits": {DONGLE: "1"}}}
    async with stage.controller():
        await stage.until("judged", lambda: _is(stage, "dongles", "True", "ValidationSucceeded"))
        await stage.pod("web", containers=[container])
        await stage.until("a claim is launched", lambda: _launched(stage))
        (claim,) = await stage.claims()
    assert claim.metadata.labels[INSTANCE_TYPE] == "medium"
    assert claim.status.allocatable[DONGLE] == "2"


async def test_of_two_overlays_that_contradict_each_other_one_says_so(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        await overlay(stage, "one", "small", price="1")
        await overlay(stage, "two", "small", price="2")
        await stage.until("one is refused", lambda: _is(stage, "one", "False", "Conflict"))
        await stage.until("the other holds", lambda: _is(stage, "two", "True", "ValidationSucceeded"))
        await stage.admin.merge_patch(NODEOVERLAYS, "one", {"spec": {"weight": 5}})
        await stage.until("both hold", lambda: _is(stage, "one", "True", "ValidationSucceeded"))


async def _is(stage: Stage, name: str, status: str, reason: str) -> bool:
    return await validation(stage, name) == (status, reason)


async def _launched(stage: Stage) -> bool:
    return any(claim.condition("Launched") for claim in await stage.claims())
