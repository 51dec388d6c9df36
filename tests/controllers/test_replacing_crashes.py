"""The controller may die at any step of a replacement: it is carried out or rolled back, and nothing is left."""

from __future__ import annotations

import itertools
import os
from collections import Counter

import pytest

from autonodes.verify.kubelets import SCHEDULER
from controllers.doom import Doom, play_until_doom
from controllers.stage import Stage
from controllers.test_program import until_running
from controlplane import RunningControlPlane

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

STRIDE = int(os.environ.get("AUTONODES_CRASH_STRIDE", "19"))
"""Every so many steps one is tried; 1 tries them all."""

_lives = itertools.count(1000)
"""Each another template, so that all nodes of the one before have drifted."""


async def test_a_death_at_any_step_of_a_replacement_leaves_nothing_half_done(
    plane: RunningControlPlane, stage: Stage
) -> None:
    await stage.node_class()
    await stage.pool()
    died: list[str] = []
    for step in itertools.count(1, STRIDE):
        where = await _die_and_recover(plane, stage, step)
        if where is None:
            break
        died.append(where)
    assert len(died) >= 20 // STRIDE, died
    assert max(Counter(stage.cloud.purchases).values()) == 1


async def _die_and_recover(plane: RunningControlPlane, stage: Stage, step: int) -> str | None:
    """A pod runs, its node drifts, the controller dies at the step, a successor finishes.

    :return: where it died, None if the story was over before
    """
    async with stage.controller():
        await stage.pod("web", schedulerName=SCHEDULER)
        await until_running(stage, "web")
    await stage.pool(template={"expireAfter": f"{next(_lives)}h"})
    await stage.forget_the_lease()
    doom = Doom(step)
    # replaced, the pod is gone for good, for nobody makes it anew; then the new node is empty and goes, too
    await play_until_doom(plane, stage, doom, stage.until("nothing is left", stage.is_empty))
    await stage.forget_the_lease()
    async with stage.controller():
        await stage.until(f"nothing is left after {doom.last}", stage.is_empty)
    await stage.forget_the_lease()
    return doom.last or None
