import asyncio

from autonodes.controllers.waiting import Wakeups, wait_for_event
from clock import VirtualClock


async def test_an_event_ends_the_wait_before_the_time() -> None:
    clock, event = VirtualClock(), asyncio.Event()
    waiting = asyncio.ensure_future(wait_for_event(event, 60.0, clock))
    await clock.advance(10.0)
    event.set()
    assert await waiting is True
    assert clock.now() == 1_700_000_010.0


async def test_the_time_ends_the_wait_without_the_event() -> None:
    clock = VirtualClock()
    waiting = asyncio.ensure_future(wait_for_event(asyncio.Event(), 60.0, clock))
    await clock.advance(60.0)
    assert await waiting is False


async def test_a_wakeup_of_one_key_leaves_the_others_asleep() -> None:
    clock = VirtualClock()
    wakeups = Wakeups(clock)
    sleepers = {key: asyncio.ensure_future(wakeups.wait(key, None)) for key in ("a", "b")}
    await clock.advance(1.0)
    wakeups.wake("a")
    await clock.advance(1.0)
    assert {key: sleeper.done() for key, sleeper in sleepers.items()} == {"a": True, "b": False}
    sleepers["b"].cancel()


async def test_a_wakeup_between_the_look_and_the_sleep_is_not_lost() -> None:
    wakeups = Wakeups(VirtualClock())
    wakeups.register("a")
    wakeups.wake("a")
    await asyncio.wait_for(wakeups.wait("a", None), 5)


async def test_a_key_that_was_forgotten_collects_nothing() -> None:
    wakeups = Wakeups(VirtualClock())
    wakeups.register("a")
    wakeups.forget("a")
    wakeups.wake("a")
    assert not wakeups.sleepers
