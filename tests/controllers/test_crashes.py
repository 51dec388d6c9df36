"""The controller may die at any step: no machine is bought twice, and none is left."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from autonodes.verify.kubelets import SCHEDULER
from controllers.doom import Doom, play_until_doom
from controllers.stage import Stage
from controllers.test_program import until_running
from controlplane import RunningControlPlane

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

STRIDE = int(os.environ.get("AUTONODES_CRASH_STRIDE", "7"))
"""Every so many steps one is tried; 1 tries them all."""


async def test_a_death_at_any_step_buys_nothing_twice_and_leaves_nothing(
    plane: RunningControlPlane, stage: Stage
) -> None:
    await stage.node_class()
    await stage.pool()
    step, died = 1, []
    while (where := await _die_and_recover(plane, stage, step)) is not None:
        died.append(where)
        step += STRIDE
    assert len(died) >= 40 // STRIDE, died
    assert max(Counter(stage.cloud.purchases).values()) == 1


async def _die_and_recover(plane: RunningControlPlane, stage: Stage, step: int) -> str | None:
    """Play a pod's story with a controller that dies at the step and a successor.

    :return: where it died, None if the story was over before
    """
    await stage.pod("web", schedulerName=SCHEDULER)
    doom = Doom(step)
    await play_until_doom(plane, stage, doom, _finish(stage))
    await stage.forget_the_lease()
    async with stage.controller():
        await _finish(stage)
    await stage.until(f"nothing is left after {doom.last}", stage.is_empty)
    return doom.last or None


async def _finish(stage: Stage) -> None:
    """The pod runs, the pod goes, everything goes."""
    if await stage.phase_or_gone("web"):
        await until_running(stage, "web")
        await stage.delete_pod("web")
    await stage.until("nothing is left", stage.is_empty)
