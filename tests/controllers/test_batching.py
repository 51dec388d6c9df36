import asyncio

from autonodes.controllers.batching import Batcher
from clock import VirtualClock


async def closed_at(clock: VirtualClock, batcher: Batcher, triggers: list[float], *, watched: float) -> float | None:
    """The virtual second at which the window closes, when the batcher is triggered at those seconds."""
    start, closes = clock.now(), None

    async def wait() -> None:
        nonlocal closes
        await batcher.window()
        closes = clock.now() - start

    task = asyncio.ensure_future(wait())
    for moment in [*triggers, watched]:
        await clock.advance(start + moment - clock.now())
        if moment != watched:
            batcher.trigger()
    task.cancel()
    return closes


async def test_a_single_pod_waits_for_the_idle_time_only() -> None:
    clock = VirtualClock()
    batcher = Batcher(idle=1.0, longest=10.0, clock=clock)
    assert await closed_at(clock, batcher, [5.0], watched=100.0) == 6.0


async def test_each_further_pod_prolongs_the_window() -> None:
    clock = VirtualClock()
    batcher = Batcher(idle=1.0, longest=10.0, clock=clock)
    assert await closed_at(clock, batcher, [0.0, 0.75, 1.5, 2.25], watched=100.0) == 3.25


async def test_a_steady_stream_of_pods_is_cut_at_the_longest_window() -> None:
    clock = VirtualClock()
    batcher = Batcher(idle=1.0, longest=10.0, clock=clock)
    stream = [moment * 0.5 for moment in range(60)]
    assert await closed_at(clock, batcher, stream, watched=100.0) == 10.0


async def test_nothing_happens_without_a_trigger() -> None:
    clock = VirtualClock()
    batcher = Batcher(idle=1.0, longest=10.0, clock=clock)
    assert await closed_at(clock, batcher, [], watched=1000.0) is None


async def test_a_window_that_nobody_opens_is_given_up_at_the_latest_time() -> None:
    clock = VirtualClock()
    batcher = Batcher(idle=1.0, longest=10.0, clock=clock)
    task = asyncio.ensure_future(batcher.window(at_latest=30.0))
    await clock.advance(29.0)
    assert not task.done()
    await clock.advance(1.0)
    assert await task is False


async def test_a_trigger_during_the_work_on_a_batch_opens_the_next_window() -> None:
    clock = VirtualClock()
    batcher = Batcher(idle=1.0, longest=10.0, clock=clock)
    batcher.trigger()
    first = asyncio.ensure_future(batcher.window())
    await clock.advance(1.0)
    assert await first
    batcher.trigger()
    assert await closed_at(clock, batcher, [], watched=5.0) == 1.0
