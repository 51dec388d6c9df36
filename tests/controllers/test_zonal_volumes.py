"""Pods with volumes in the whole controller: the machine is bought where the volume is, and kube-scheduler agrees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from autonodes.core.labels import ZONE
from autonodes.kube.client import KubeClient
from autonodes.kube.resources import CSINODES, PVCS, PVS
from controllers.stage import Stage
from controllers.test_program import until_running

pytestmark = pytest.mark.integration

DRIVER = "disk.example.com"


@pytest.fixture(autouse=True)
async def swept(admin: KubeClient, namespace: str) -> AsyncIterator[None]:
    yield
    await admin.delete(PVS, namespace)
    for body in await admin.list(CSINODES):
        await admin.delete(CSINODES, body["metadata"]["name"])


async def volume(stage: Stage, zone: str) -> None:
    """A claim ``data`` and the volume in a zone that it is bound to; no controller manager runs that would do it."""
    name, namespace = stage.namespace, stage.namespace
    shared: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    term = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}
    spec = {
        **shared,
        "capacity": {"storage": "1Gi"},
        "csi": {"driver": DRIVER, "volumeHandle": name},
        "claimRef": {"kind": "PersistentVolumeClaim", "name": "data", "namespace": namespace},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
    }
    claim = {**shared, "volumeName": name, "resources": {"requests": {"storage": "1Gi"}}}
    annotations = {"pv.kubernetes.io/bind-completed": "yes"}
    made = {"metadata": {"name": "data", "annotations": annotations}, "spec": claim}
    body = await stage.admin.create(PVCS, made, namespace)
    spec["claimRef"]["uid"] = body["metadata"]["uid"]  # type: ignore[index]
    await stage.admin.create(PVS, {"metadata": {"name": name}, "spec": spec})


async def test_a_machine_is_bought_where_the_volume_is(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    await volume(stage, "b")
    driver = {"name": DRIVER, "nodeID": "x", "topologyKeys": None, "allocatable": {"count": 3}}
    await stage.admin.create(CSINODES, {"metadata": {"name": "elsewhere"}, "spec": {"drivers": [driver]}})
    async with stage.controller():
        await stage.pod("web", volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}])
        await until_running(stage, "web")
        (claim,) = await stage.claims()
        assert claim.metadata.labels[ZONE] == "b"
        assert not any(name.startswith("attachable") for name in claim.spec.resources.requests)
