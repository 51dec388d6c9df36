from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

from autonodes.controllers.workqueue import WorkQueue
from autonodes.kube.errors import ApiUnreachableError
from clock import VirtualClock


@contextlib.asynccontextmanager
async def worked(
    work: Callable[[str], Awaitable[None]], clock: VirtualClock, *, resync: float = 300
) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue("thing", work, clock, resync=resync)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_flood_of_changes_is_one_look() -> None:
    clock, looks = VirtualClock(), list[float]()

    async def look(key: str) -> None:
        looks.append(clock.now())

    async with worked(look, clock) as queue:
        start = clock.now()
        for _ in range(10):
            queue.add("a", after=1.0)
            await clock.advance(0.05)
        await clock.advance(5)
    assert [round(moment - start, 3) for moment in looks] == [1.0]


async def test_a_failure_is_tried_again_after_a_growing_pause() -> None:
    clock, looks = VirtualClock(), list[float]()

    async def look(key: str) -> None:
        looks.append(clock.now())
        if len(looks) < 5:
            raise ApiUnreachableError("silence")

    async with worked(look, clock) as queue:
        queue.add("a")
        await clock.advance(100)
    pauses = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert len(looks) == 5
    assert pauses[-1] > pauses[0]


async def test_everything_is_looked_at_again_after_the_resync_time() -> None:
    clock, looks = VirtualClock(), list[str]()

    async def look(key: str) -> None:
        looks.append(key)

    async with worked(look, clock, resync=60) as queue:
        queue.add("a")
        queue.add("b")
        await clock.advance(61)
        assert looks == ["a", "b", "a", "b"]
        queue.forget("a")
        await clock.advance(60)
        assert looks[4:] == ["b"]
