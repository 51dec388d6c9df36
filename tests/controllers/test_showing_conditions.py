"""What a claim's conditions say from its first quiet moment to the end of its machine, on the real API server."""

from __future__ import annotations

from typing import Any

import pytest

from autonodes.api.conditions import find_condition
from autonodes.kube.resources import NODECLAIMS, NODEPOOLS, PDBS, VOLUMEATTACHMENTS
from controllers.stage import Stage
from controllers.test_program import only_claim, until_running

pytestmark = pytest.mark.integration

KEPT: dict[str, Any] = {"budgets": [{"nodes": "0"}]}
"""So that what could go stays to be looked at."""


async def shows(stage: Stage, type_: str, status: str, reason: str) -> bool:
    found = find_condition((await only_claim(stage)).status.conditions, type_)
    return found is not None and (found.status, found.reason) == (status, reason)


async def consolidate_after(stage: Stage, text: str) -> None:
    await stage.admin.merge_patch(NODEPOOLS, "default", {"spec": {"disruption": {"consolidateAfter": text}}})


async def test_a_claim_is_consolidatable_when_pods_have_left_it_alone_for_long_enough(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool(disruption={"consolidateAfter": "1h", **KEPT})
    await stage.pod("web")
    async with stage.controller():
        await until_running(stage, "web")
        await stage.until("it is ready", lambda: shows(stage, "Ready", "True", "Ready"))
        assert find_condition((await only_claim(stage)).status.conditions, "Consolidatable") is None
        await consolidate_after(stage, "1s")
        await stage.until("it is quiet", lambda: shows(stage, "Consolidatable", "True", "Consolidatable"))
        await consolidate_after(stage, "1h")
        await stage.until("it is not", lambda: shows(stage, "Consolidatable", "False", "TooSoon"))
        await consolidate_after(stage, "Never")
        await stage.until("nor ever", lambda: shows(stage, "Consolidatable", "False", "ConsolidationDisabled"))
        await consolidate_after(stage, "3s")
        await stage.until("it is quiet again", lambda: shows(stage, "Consolidatable", "True", "Consolidatable"))
        await stage.delete_pod("web")
        await stage.until("a pod has left", lambda: shows(stage, "Consolidatable", "False", "TooSoon"))


async def test_a_claim_on_its_way_out_says_what_it_waits_for(stage: Stage) -> None:
    stage.cloud.deletion_takes = 10_000
    await stage.node_class()
    await stage.pool(disruption=KEPT)
    await stage.pod("web")
    async with stage.controller():
        await until_running(stage, "web")
        claim = await only_claim(stage)
        budget = {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}}
        await stage.admin.create(PDBS, {"metadata": {"name": "web"}, "spec": budget}, stage.namespace)
        await _attach(stage, claim.name)
        await stage.admin.delete(NODECLAIMS, claim.name)
        await stage.until("pods are waited for", lambda: shows(stage, "Drained", "Unknown", "Draining"))
        await stage.admin.delete(PDBS, "web", stage.namespace)
        await stage.until("none is left", lambda: shows(stage, "Drained", "True", "Drained"))
        awaited = "VolumesDetached", "Unknown", "AwaitingVolumeDetachment"
        await stage.until("volumes are waited for", lambda: shows(stage, *awaited))
        assert len(stage.cloud.records()) == 1
        await stage.admin.delete(VOLUMEATTACHMENTS, "disk")
        await stage.until("none is left", lambda: shows(stage, "VolumesDetached", "True", "VolumesDetached"))
        gone = "InstanceTerminating", "True", "InstanceTerminating"
        await stage.until("the machine is waited for", lambda: shows(stage, *gone))
        stage.cloud.deletion_takes = 1
        await stage.until("nothing is left", stage.is_empty)


async def _attach(stage: Stage, node: str) -> None:
    spec = {"attacher": "csi.test", "nodeName": node, "source": {"persistentVolumeName": "disk"}}
    await stage.admin.create(VOLUMEATTACHMENTS, {"metadata": {"name": "disk"}, "spec": spec})
