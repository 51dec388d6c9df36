from __future__ import annotations

import asyncio

from autonodes.controllers.expectations import Expectations
from clock import VirtualClock


class Server:
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.asked: list[str] = []

    async def exists(self, name: str) -> bool:
        self.asked.append(name)
        return name in self.names


async def test_a_plan_waits_until_the_cache_has_told_of_all_that_was_written() -> None:
    clock, server = VirtualClock(), Server()
    expectations = Expectations(server.exists, clock, patience=10)
    await expectations.met()
    expectations.expect("a")
    expectations.expect("b")
    waiting = asyncio.ensure_future(expectations.met())
    await clock.advance(1)
    expectations.observe("a")
    await clock.advance(1)
    assert not waiting.done()
    expectations.observe("b")
    await clock.advance(1)
    await waiting
    assert not server.asked


async def test_what_does_not_exist_after_all_is_not_waited_for() -> None:
    clock, server = VirtualClock(), Server()
    expectations = Expectations(server.exists, clock, patience=10)
    expectations.expect("a")
    waiting = asyncio.ensure_future(expectations.met())
    await clock.advance(10)
    await waiting
    assert server.asked == ["a"]


async def test_what_exists_and_does_not_show_stops_all_planning() -> None:
    clock, server = VirtualClock(), Server()
    server.names = {"a"}
    expectations = Expectations(server.exists, clock, patience=10)
    expectations.expect("a")
    waiting = asyncio.ensure_future(expectations.met())
    await clock.advance(1000)
    assert not waiting.done()
    expectations.observe("a")
    await clock.advance(1)
    await waiting
