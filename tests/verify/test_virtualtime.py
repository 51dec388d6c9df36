"""Time jumps where a loop would sleep, and not while something is on its way."""

from __future__ import annotations

import asyncio
import threading

from autonodes.verify.arena import run_virtually
from autonodes.verify.virtualtime import EPOCH, LoopClock, VirtualTimeLoop


def test_a_week_of_sleep_is_over_at_once() -> None:
    async def week() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(7 * 24 * 3600.0)
        return loop.time()

    assert run_virtually(week()) >= 7 * 24 * 3600.0


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    async def three() -> list[int]:
        woken: list[int] = []

        async def sleep(seconds: int) -> None:
            await asyncio.sleep(seconds)
            woken.append(seconds)

        await asyncio.gather(sleep(30), sleep(10), sleep(20))
        return woken

    assert run_virtually(three()) == [10, 20, 30]


def test_time_stands_while_a_thread_works() -> None:
    async def worked() -> float:
        done = threading.Event()
        timer = asyncio.get_running_loop().call_later(3600.0, lambda: None)
        working = asyncio.get_running_loop().run_in_executor(None, done.wait)
        threading.Timer(0.05, done.set).start()
        await working
        timer.cancel()
        return asyncio.get_running_loop().time()

    assert run_virtually(worked()) < 3600.0


def test_time_stands_while_something_is_on_its_way() -> None:
    class OnItsWay:
        still = False

        def is_still(self) -> bool:
            return self.still

        def give_up(self) -> None:
            raise AssertionError("it came")

    async def awaited() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.stillness = way = OnItsWay()
        timer = loop.call_later(3600.0, lambda: None)
        arrived = asyncio.Event()

        def arrive() -> None:
            way.still = True
            arrived.set()

        threading.Timer(0.05, loop.call_soon_threadsafe, [arrive]).start()
        await arrived.wait()
        timer.cancel()
        return loop.time()

    assert run_virtually(awaited()) < 3600.0


def test_each_clock_may_be_wrong_by_itself() -> None:
    async def clocks() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        right, wrong = LoopClock(loop), LoopClock(loop)
        wrong.skew = -60.0
        await right.sleep(100.0)
        return right.now(), wrong.now()

    right, wrong = run_virtually(clocks())
    assert right >= EPOCH + 100.0
    assert right - wrong == 60.0
