"""Buffers in the whole controller: room is bought, kept and given back, and real pods take it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from autonodes.api.crds import other_crds
from autonodes.cli.bootstrapping import Applier
from autonodes.controllers.capacitybuffers import CapacityBuffers
from autonodes.controllers.clock import SystemClock
from autonodes.core.labels import CAPACITY_TYPE
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import CAPACITYBUFFERS, CRDS, PODTEMPLATES
from controllers.stage import Stage
from controllers.test_program import until_running

pytestmark = pytest.mark.integration


@pytest.fixture
async def served(admin: KubeClient) -> AsyncIterator[None]:
    """The kind, as long as the test lasts."""
    await Applier(admin).install_missing_crds(other_crds())
    yield
    await admin.delete(CRDS, str(CAPACITYBUFFERS))
    while await is_there(admin):  # noqa: ASYNC110 -- the server says nothing; the next test must not meet it
        await asyncio.sleep(0.1)


async def is_there(admin: KubeClient) -> bool:
    try:
        await admin.get(CRDS, str(CAPACITYBUFFERS))
    except NotFoundError:
        return False
    return True


async def template(stage: Stage, cpu: str) -> None:
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": cpu}}}
    body = {"metadata": {"name": "shape"}, "template": {"spec": {"containers": [container]}}}
    await stage.admin.create(PODTEMPLATES, body, stage.namespace)


async def buffer(stage: Stage, **spec: Any) -> None:
    body = {"metadata": {"name": "spare", "namespace": stage.namespace}, "spec": spec}
    await stage.admin.apply(CAPACITYBUFFERS, body, field_manager="test")


async def condition(stage: Stage, type_: str) -> tuple[str, str]:
    body = await stage.admin.get(CAPACITYBUFFERS, "spare", stage.namespace)
    conditions = (body.get("status") or {}).get("conditions") or ()
    found = next((each for each in conditions if each["type"] == type_), None)
    return (found["status"], found["reason"]) if found else ("", "")


async def is_so(stage: Stage, type_: str, status: str, reason: str) -> bool:
    return await condition(stage, type_) == (status, reason)


@pytest.mark.usefixtures("served")
async def test_room_is_bought_kept_taken_and_given_back(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    await template(stage, "1500m")
    async with stage.controller():
        await buffer(stage, podTemplateRef={"name": "shape"}, replicas=1)
        await stage.until("there is room", lambda: is_so(stage, "Provisioning", "True", "FitsExistingCapacity"))
        assert len(stage.cloud.purchases) == 1
        await stage.pod("web", cpu="1500m")
        await until_running(stage, "web")
        await stage.until("there is new room", lambda: _claims(stage, 2))
        await stage.delete_pod("web")
        await stage.admin.delete(CAPACITYBUFFERS, "spare", stage.namespace)
        await stage.until("nothing is left", stage.is_empty, seconds=90)
        assert len(stage.cloud.purchases) == 2


@pytest.mark.usefixtures("served")
async def test_a_buffer_without_its_template_says_so(stage: Stage) -> None:
    async with stage.controller():
        await buffer(stage, podTemplateRef={"name": "shape"}, replicas=1)
        await stage.until("told", lambda: is_so(stage, "ReadyForProvisioning", "False", "PodTemplateNotFound"))
        await buffer(stage, scalableRef={"kind": "DaemonSet", "name": "x"}, replicas=1)
        await stage.until("told", lambda: is_so(stage, "ReadyForProvisioning", "False", "ResolutionFailed"))


@pytest.mark.usefixtures("served")
async def test_who_only_looks_sees_the_room_and_writes_nothing(stage: Stage) -> None:
    await template(stage, "100m")
    await buffer(stage, podTemplateRef={"name": "shape"}, limits={"cpu": "1"})
    buffers = CapacityBuffers(stage.admin, SystemClock())
    await buffers.look_once()
    assert len(buffers.pods()) == 10
    assert await condition(stage, "ReadyForProvisioning") == ("", "")


async def test_a_cluster_without_the_kind_is_served_all_the_same(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await until_running(stage, "web")
        await stage.delete_pod("web")
        await stage.until("nothing is left", stage.is_empty)


async def _claims(stage: Stage, count: int) -> bool:
    claims = await stage.claims()
    return len(claims) == count and all(CAPACITY_TYPE in claim.metadata.labels for claim in claims)
