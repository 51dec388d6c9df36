"""The controller may die at any step of a repair, a notice, an expiry or a preservation: its successor ends it well."""

from __future__ import annotations

import time

import pytest

from autonodes.controllers.expiration import expires_at
from autonodes.kube.resources import NODECLAIMS, NODES
from autonodes.provider import Interruption, ProviderID, RepairPolicy
from autonodes.verify.kubelets import SCHEDULER
from controllers.doom import Doom, play_until_doom
from controllers.stage import Stage
from controllers.test_program import only_claim, until_running
from controlplane import RunningControlPlane

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SILENT = RepairPolicy(condition_type="Ready", condition_status="Unknown", toleration=0.2)


async def _one_running(stage: Stage, **template: str) -> str:
    """The name of the only claim, with pod ``web`` on it; its controller has gone without a trace."""
    await stage.node_class()
    await stage.pool(template=template)
    async with stage.controller():
        await stage.pod("web", schedulerName=SCHEDULER)
        await until_running(stage, "web")
        name = (await only_claim(stage)).name
    await stage.forget_the_lease()
    return name


async def _die_and_recover(plane: RunningControlPlane, stage: Stage, step: int) -> None:
    """Until nothing is left, whatever it takes; the pod is gone for good, for nobody makes it anew."""
    doom = Doom(step)
    await play_until_doom(plane, stage, doom, stage.until("nothing is left", stage.is_empty))
    assert doom.last, f"all was over after {doom.steps} steps"
    await stage.forget_the_lease()
    async with stage.controller():
        await stage.until(f"nothing is left after {doom.last}", stage.is_empty)
    assert len(stage.cloud.purchases) == 1


@pytest.mark.parametrize("step", [1, 4, 7])
async def test_a_death_in_a_repair_ends_in_one_machine_less(
    plane: RunningControlPlane, stage: Stage, step: int
) -> None:
    broken = await _one_running(stage)
    stage.cloud.policies = (SILENT,)
    stage.kubelets.unready.add(broken)
    await _die_and_recover(plane, stage, step)


@pytest.mark.parametrize("step", [2, 5, 9])
async def test_a_death_after_a_notice_ends_in_one_machine_less(
    plane: RunningControlPlane, stage: Stage, step: int
) -> None:
    await _one_running(stage)
    taken = ProviderID((await only_claim(stage)).status.provider_id)
    stage.cloud.notices = [Interruption(provider_id=taken, kind="spot", at=time.time() + 60, message="")]
    await _die_and_recover(plane, stage, step)


@pytest.mark.parametrize("step", [1, 5, 9])
async def test_a_death_in_an_expiry_ends_in_one_machine_less(
    plane: RunningControlPlane, stage: Stage, step: int
) -> None:
    await _one_running(stage, expireAfter="4s")
    due = expires_at(await only_claim(stage))
    assert due is not None
    await stage.until("it has expired", lambda: time.time() > due)
    await _die_and_recover(plane, stage, step)


@pytest.mark.parametrize("step", [1, 2])
async def test_a_death_in_a_preservation_neither_loses_the_node_nor_leaves_it_cordoned(
    plane: RunningControlPlane, stage: Stage, step: int
) -> None:
    kept = await _one_running(stage)
    await _preserve(stage, kept, "2999-01-01T00:00:00Z")
    doom = Doom(step)
    await play_until_doom(plane, stage, doom, stage.until("never", lambda: False))
    assert doom.last
    await stage.forget_the_lease()
    async with stage.controller():
        await stage.until("it is cordoned", lambda: _is_cordoned(stage, kept))
        await _preserve(stage, kept, None)
        await stage.until("it is open again", lambda: _is_open(stage, kept))
        assert await stage.phase("web") == "Running"
    assert len(stage.cloud.purchases) == 1


async def _preserve(stage: Stage, name: str, until: str | None) -> None:
    annotations = {"autonodes.io/preserve-until": until}
    await stage.admin.merge_patch(NODECLAIMS, name, {"metadata": {"annotations": annotations}})


async def _is_cordoned(stage: Stage, name: str) -> bool:
    node = await stage.admin.get(NODES, name)
    return bool(node["spec"].get("unschedulable"))


async def _is_open(stage: Stage, name: str) -> bool:
    node = await stage.admin.get(NODES, name)
    annotations = node["metadata"].get("annotations") or {}
    return not node["spec"].get("unschedulable") and "karpenter.sh/do-not-disrupt" not in annotations
