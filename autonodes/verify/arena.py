"""Where worlds are played, one after the other: one API server, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import tempfile
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from autonodes.api.crds import crds
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import AlreadyExistsError
from autonodes.kube.kubeconfig import Credentials, load_kubeconfig
from autonodes.kube.resources import CRDS, NAMESPACES, SERVICEACCOUNTS
from autonodes.verify import faults, scenario
from autonodes.verify.doom import Doom
from autonodes.verify.faults import Fault
from autonodes.verify.feeds import Traffic
from autonodes.verify.gate import TimedGate
from autonodes.verify.view import NAMESPACE
from autonodes.verify.virtualtime import LoopClock, VirtualTimeLoop
from autonodes.verify.world import CHAOS, Arena, Outcome, World, sweep

T = TypeVar("T")


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run``, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


@contextlib.asynccontextmanager
async def arena(kubeconfig: Path) -> AsyncIterator[Arena]:
    """:param kubeconfig: the administrator's, of an API server that is nobody else's"""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)  # noqa: S101
    clock = LoopClock(loop)
    traffic = Traffic(load_kubeconfig(kubeconfig), clock)
    loop.stillness = traffic
    logging.getLogger("kopf").setLevel(logging.CRITICAL)  # its tracebacks cost more than what they tell
    gate = TimedGate(kubeconfig, Doom(0), traffic, asked=lambda *_: None, seen=lambda *_: None)
    try:
        async with gate.running(), KubeClient(Credentials(server=gate.url)) as admin:
            await _prepare(admin)
            await sweep(admin)
            yield Arena(kubeconfig, traffic, admin, lambda: LoopClock(loop))
    finally:
        await traffic.close()
        loop.stillness = None


async def _prepare(admin: KubeClient) -> None:
    for crd in crds():
        await admin.apply(CRDS, crd, field_manager="verify")
    for crd in crds():
        await _established(admin, crd["metadata"]["name"])
    with contextlib.suppress(AlreadyExistsError):
        await admin.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
    with contextlib.suppress(AlreadyExistsError):
        # no controller manager runs here, so the account that admission asks for is made by hand
        await admin.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": NAMESPACE}})


async def _established(admin: KubeClient, name: str) -> None:
    while True:
        conditions = (await admin.get(CRDS, name)).get("status", {}).get("conditions") or ()
        if any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
            return
        await asyncio.sleep(0.1)


def schedule(seed: int, *, count: int) -> tuple[Fault, ...]:
    return faults.draw(random.Random(f"faults {seed}"), count=count, seconds=CHAOS)  # noqa: S311 -- not a secret


async def play(arena: Arena, seed: int, schedule: Sequence[Fault]) -> Outcome:
    """One world of this seed, with these faults."""
    drawn = scenario.draw(random.Random(f"scenario {seed}"), seconds=CHAOS)  # noqa: S311 -- not a secret
    with tempfile.TemporaryDirectory(prefix="autonodes-verify-") as directory:
        outcome = await World(arena, drawn, schedule, Path(directory)).play()
    arena.traffic.forget()
    return outcome
