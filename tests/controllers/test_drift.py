"""Whether a claim shows that it has drifted, and goes when it is too old."""

from __future__ import annotations

import time

import pytest

from autonodes.api.conditions import find_condition
from autonodes.controllers.expiration import expires_at
from autonodes.kube.resources import NODECLAIMS
from controllers.claimbook import NOW, claim
from controllers.stage import Stage
from controllers.test_program import until_running


async def _drift(stage: Stage) -> str:
    """The reason, "" if there is no drift."""
    (found,) = await stage.claims()
    shown = find_condition(found.status.conditions, "Drifted")
    return shown.reason if shown and shown.status == "True" else ""


async def _has_drifted(stage: Stage, reason: str) -> bool:
    return await _drift(stage) == reason


@pytest.mark.integration
async def test_drift_shows_as_a_condition_and_goes_when_its_cause_goes(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool(disruption={"consolidateAfter": "Never", "budgets": [{"nodes": "0"}]})
    async with stage.controller():
        await stage.pod("web")
        await until_running(stage, "web")
        assert not await _drift(stage)
        stage.cloud.drifted = "ImageDrift"
        await stage.until("the provider's drift shows", lambda: _has_drifted(stage, "ImageDrift"))
        taint = {"key": "new", "effect": "NoSchedule"}
        changed = {"disruption": {"consolidateAfter": "Never", "budgets": [{"nodes": "0"}]}}
        await stage.pool(template={"taints": [taint]}, **changed)
        await stage.until("the template's drift shows", lambda: _has_drifted(stage, "NodePoolDrifted"))
        stage.cloud.drifted = ""
        await stage.pool(**changed)
        await stage.until("there is no drift any more", lambda: _has_drifted(stage, ""))
        assert len(await stage.claims()) == 1


@pytest.mark.integration
async def test_an_expired_node_goes_whatever_holds_it_and_its_pod_gets_another(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool(template={"expireAfter": "8s"}, disruption={"budgets": [{"nodes": "0"}]})
    async with stage.controller():
        await stage.pod("web", annotations={"karpenter.sh/do-not-disrupt": "true"})
        await until_running(stage, "web")
        (first,) = await stage.claims()
        await stage.until("it is asked to go", lambda: _is_leaving(stage, first.name))


@pytest.mark.integration
async def test_an_expired_node_that_is_preserved_stays_until_that_is_over(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool(template={"expireAfter": "6s"}, disruption={"budgets": [{"nodes": "0"}]})
    async with stage.controller():
        await stage.pod("web")
        await until_running(stage, "web")
        (first,) = await stage.claims()
        await _preserve(stage, first.name, "2999-01-01T00:00:00Z")
        due = expires_at(first)
        assert due is not None
        await stage.until("it has expired", lambda: time.time() > due + 1.0)
        assert not await _is_leaving(stage, first.name)
        await _preserve(stage, first.name, None)
        await stage.until("it is asked to go", lambda: _is_leaving(stage, first.name), seconds=90)


async def _preserve(stage: Stage, name: str, until: str | None) -> None:
    annotations = {"autonodes.io/preserve-until": until}
    await stage.admin.merge_patch(NODECLAIMS, name, {"metadata": {"annotations": annotations}})


async def _is_leaving(stage: Stage, name: str) -> bool:
    return all(each.name != name or each.metadata.deletion_timestamp for each in await stage.claims())


def test_a_claim_expires_so_long_after_its_creation_or_never() -> None:
    assert expires_at(claim(created=NOW, expireAfter="1h")) == NOW + 3600
    assert expires_at(claim(expireAfter="Never")) is None
