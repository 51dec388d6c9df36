"""The table of hosts when hundreds change it at once, by a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autonodes.kube.client import KubeClient
from autonodes.provider import InsufficientCapacityError, ProviderError
from providers.metal.allocations import Allocation, Allocations

pytestmark = pytest.mark.integration


def line(uid: str) -> Allocation:
    return Allocation(
        claim_uid=uid,
        claim_name=uid,
        cluster="blue",
        node_pool="default",
        node_class="default",
        image="http://images/node.iso",
        host=f"host-{uid}",
        instance_type="metal.small",
        zone="rack-0",
        created_at=1.0,
    )


def put(uid: str) -> Callable[[dict[str, Allocation]], None]:
    def change(table: dict[str, Allocation]) -> None:
        table[uid] = line(uid)

    return change


class Counted(Allocations):
    """:param within: called between the read and the write of each try"""

    def __init__(self, kube: KubeClient, within: Callable[[], Any] | None = None) -> None:
        super().__init__(kube)
        self.writes, self._within = 0, within

    async def _write(self, *arguments: Any) -> None:
        if self._within is not None:
            await self._within()
        self.writes += 1
        await super()._write(*arguments)


async def test_the_changes_of_hundreds_are_a_few_writes(kube: KubeClient) -> None:
    table = Counted(kube)
    names = [f"{each:03}" for each in range(500)]
    tables = await asyncio.gather(*(table.change(put(name)) for name in names))
    assert list(await table.read()) == names
    assert all(line(name) == after[name] for name, after in zip(names, tables, strict=True))
    assert table.writes <= 3


async def test_two_processes_lose_nothing_of_each_other(kube: KubeClient) -> None:
    one, other = Allocations(kube), Allocations(kube)
    names = [f"{each:03}" for each in range(100)]
    await asyncio.gather(*((one, other)[index % 2].change(put(name)) for index, name in enumerate(names)))
    assert list(await one.read()) == names


async def test_a_change_that_can_not_be_is_its_own_and_holds_up_nobody(kube: KubeClient) -> None:
    def refuse(table: dict[str, Allocation]) -> None:
        table["half"] = line("half")
        raise InsufficientCapacityError("no host is free")

    table = Allocations(kube)
    outcomes = await asyncio.gather(
        table.change(put("a")), table.change(refuse), table.change(put("b")), return_exceptions=True
    )
    assert isinstance(outcomes[1], InsufficientCapacityError)
    assert list(await table.read()) == ["a", "b"]


async def test_who_is_cancelled_takes_nobody_along(kube: KubeClient) -> None:
    entered = asyncio.Event()

    async def hang_once() -> None:
        if not entered.is_set():
            entered.set()
            await asyncio.Event().wait()

    table = Counted(kube, hang_once)
    first = asyncio.create_task(table.change(put("first")))
    await entered.wait()
    others = [asyncio.create_task(table.change(put(name))) for name in ("a", "b")]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(*others)
    assert list(await table.read()) == ["a", "b"]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_table_that_others_change_all_the_time_is_given_up_by_all_who_wait(kube: KubeClient) -> None:
    stranger = Allocations(kube)

    async def change_it() -> None:
        await stranger.change(lambda table: table.update(x=replace(line("x"), created_at=len(str(table)) + 1.0)))
        await stranger.change(lambda table: table.update(x=replace(table["x"], zone=table["x"].zone + "1")))

    table = Counted(kube, change_it)
    outcomes = await asyncio.gather(*(table.change(put(name)) for name in ("a", "b")), return_exceptions=True)
    assert all(isinstance(each, ProviderError) for each in outcomes)
    assert list(await table.read()) == ["x"]
