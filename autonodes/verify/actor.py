"""One controller as the world knows it: the whole program, started anew each time that it is killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from autonodes.controllers.program import ControllerContext, Program
from autonodes.controllers.settings import ControllerSettings
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.kubeconfig import Credentials
from autonodes.provider import Provider
from autonodes.verify.cloud import Cloud
from autonodes.verify.doom import Doom, Doomed
from autonodes.verify.doorman import Doorman
from autonodes.verify.feeds import Traffic
from autonodes.verify.gate import TimedGate
from autonodes.verify.invariants import Standing
from autonodes.verify.virtualtime import LoopClock

SETTINGS: Final = ControllerSettings(
    launch_deadline=120.0,
    registration_deadline=180.0,
    initialization_deadline=240.0,
    replacement_deadline=500.0,
    consolidation_min_age=30.0,
    disruption_validation=5.0,
    interruption_poll=10.0,
    repair_interval=20.0,
    termination_poll=3.0,
    lease_duration=20.0,
    lease_renewal=14.0,
    lease_retry=6.0,
)
"""The product's, but for deadlines that a short life can meet and polls that would only cost time."""

RESTART: Final = 5.0
"""Seconds until a killed controller is started again."""


class World(Protocol):
    """What an actor needs of the world that it is in."""

    def provider(self, who: str) -> Provider: ...

    def asked(self, who: str, method: str, path: str, body: Object | None) -> None: ...

    def seen(self, who: str, method: str, path: str, status: int, answer: Object | None) -> None: ...

    def died(self, who: str, where: str) -> None: ...

    def broke(self, error: BaseException) -> None: ...


class Actor:
    """:ivar gate: of the present life
    :ivar standing: kept by the world
    """

    def __init__(
        self,
        name: str,
        world: World,
        *,
        kubeconfig: Path,
        traffic: Traffic,
        doorman: Doorman,
        new_clock: Callable[[], LoopClock],
        standings: dict[str, Standing],
    ) -> None:
        self._name, self._world, self._kubeconfig, self._traffic = name, world, kubeconfig, traffic
        self._doorman, self._new_clock, self._standings = doorman, new_clock, standings
        self.lives = 0
        self.doom = Doom(0)
        self.clock = new_clock()
        self.gate: TimedGate | None = None
        self.program: Program | None = None
        self._over = False

    @property
    def identity(self) -> str:
        return f"{self._name}-{self.lives}"

    @property
    def standing(self) -> Standing:
        return self._standings[self.identity]

    async def run(self) -> None:
        """Life after life, until `stop`."""
        while not self._over:
            self.lives += 1
            self.doom, self.clock = Doom(0), self._new_clock()
            self._standings[self.identity] = Standing()
            await self._live(self.identity)
            if not self._over:
                self._world.died(self.identity, self.doom.last)
                await asyncio.sleep(RESTART)

    async def _live(self, who: str) -> None:
        world = self._world
        self.gate = TimedGate(
            self._kubeconfig,
            self.doom,
            self._traffic,
            asked=lambda method, path, body: world.asked(who, method, path, body),
            seen=lambda method, path, status, answer: world.seen(who, method, path, status, answer),
        )
        async with self.gate.running(), KubeClient(Credentials(server=self.gate.url)) as client:
            context = ControllerContext(
                credentials=Credentials(server=self.gate.url),
                client=client,
                providers={Cloud.node_class_kind: Doomed(world.provider(who), self.doom)},
                joiner=self._doorman,
                clock=self.clock,
                settings=SETTINGS,
                identity=who,
            )
            self.program = Program(context)
            tearing = asyncio.create_task(self.gate.watch_doom())
            running = asyncio.create_task(self.program.run(), name=who)
            try:
                await asyncio.wait({tearing, running}, return_when=asyncio.FIRST_COMPLETED)
                if running.done() and not self._over and not self.doom.dead.is_set():
                    world.broke(running.exception() or RuntimeError(f"{who} ended by itself"))
                    self.doom.strike("by itself")
            finally:
                for task in (tearing, running):
                    task.cancel()
                await asyncio.gather(tearing, running, return_exceptions=True)

    def kill(self) -> None:
        self.doom.strike("from outside")

    async def stop(self, task: asyncio.Task[None]) -> None:
        """End it as an operator would, and wait."""
        self._over = True
        if self.program is not None:
            self.program.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30.0):
                await asyncio.shield(task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
