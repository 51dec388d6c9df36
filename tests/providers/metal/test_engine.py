"""Whose turn it is: hundreds of hosts, a few steps at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from autonodes.api.baremetal import BareMetalHostSpec, BareMetalHostStatus
from providers.metal.allocations import Allocation, Allocations
from providers.metal.bmc import BMC
from providers.metal.engine import STEPS, Controllers, Engine
from providers.metal.hosts import Host, Hosts
from providers.metal.states import State

SPEC = BareMetalHostSpec.model_validate(
    {
        "bmc": {"address": "https://bmc/redfish/v1/Systems/1", "credentialsSecret": "bmc"},
        **{"instanceType": "small", "zone": "a", "cpu": "1", "memory": "1Gi", "price": 1.0},
    }
)
COUNT = 5 * STEPS


class Hall:
    """Hosts, and no controller: steps end when they are let go."""

    def __init__(self) -> None:
        self.written = 0
        self.hosts = [
            Host(f"host-{index:04}", str(index), "1", 1, {}, SPEC, BareMetalHostStatus()) for index in range(COUNT)
        ]
        self.begun: Counter[str] = Counter()
        self.most = self.under_way = 0
        self.hanging: frozenset[str] = frozenset()

    async def all(self) -> list[Host]:
        return self.hosts

    async def read(self) -> Mapping[str, Allocation]:
        return {}

    async def of(self, host: Host) -> BMC:
        return cast(BMC, None)

    async def step(self, host: Host, allocation: Allocation | None, bmc: BMC, now: float) -> None:
        self.begun[host.name] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await (asyncio.Event().wait() if host.name in self.hanging else asyncio.sleep(0))
        finally:
            self.under_way -= 1


def engine(hall: Hall) -> Engine:
    return Engine(
        cast(Hosts, hall),
        cast(Allocations, hall),
        cast(Controllers, hall),
        dict.fromkeys(State, cast(Any, hall.step)),
        is_due=lambda host, allocation, now: True,
        now=lambda: 0.0,
        at_once=20,
    )


async def looks(made: Engine, times: int) -> None:
    for _ in range(times):
        await made._look()
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_hall_that_is_listed_at_once_is_not_asked_at_once() -> None:
    hall = Hall()
    await looks(engine(hall), 5)
    assert hall.most == STEPS
    assert hall.begun == Counter({host.name: 1 for host in hall.hosts})


async def test_those_that_hang_keep_nobody_waiting_for_ever() -> None:
    hall = Hall()
    hall.hanging = frozenset(host.name for host in hall.hosts[: STEPS - 1])
    made = engine(hall)
    await looks(made, COUNT)
    assert set(hall.begun) == {host.name for host in hall.hosts}
    for task in made._busy.values():
        task.cancel()
