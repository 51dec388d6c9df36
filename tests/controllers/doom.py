"""Playing a story until its controller dies."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from autonodes.kube.kubeconfig import Credentials
from autonodes.verify.doom import Doom, Doomed, Gate
from controllers.stage import Stage
from controlplane import RunningControlPlane


async def play_until_doom(
    plane: RunningControlPlane, stage: Stage, doom: Doom, story: Coroutine[Any, Any, object]
) -> None:
    """Run a controller behind the gate until the story is over or the gate has closed.

    What the story raises is raised.
    """
    gate = Gate(plane.kubeconfig, doom)
    async with gate.running():
        watching = asyncio.create_task(gate.watch_doom())
        provider = Doomed(stage.cloud, doom)
        try:
            async with stage.controller(credentials=Credentials(server=gate.url), provider=provider):  # type: ignore[arg-type]
                playing = asyncio.create_task(story)
                await asyncio.wait({playing, watching}, return_when=asyncio.FIRST_COMPLETED)
                await _stop(playing)
        finally:
            await _stop(watching)


async def _stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, Exception):
        raise outcome
