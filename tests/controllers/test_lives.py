import asyncio

import pytest

from autonodes.controllers.lives import Lives
from autonodes.controllers.waiting import Wakeups
from clock import VirtualClock


class Story:
    """Lives and ends that only write down what happens to them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.step_done = asyncio.Event()
        self.machine_gone = asyncio.Event()
        self.wakeups = Wakeups(VirtualClock())
        self.lives = Lives(self._live, self._end, self.wakeups)

    async def _live(self, name: str, uid: str, stopping: asyncio.Event) -> None:
        self.lines.append(f"{name} begins")
        await stopping.wait()
        await self.step_done.wait()
        self.lines.append(f"{name}'s step is done")

    async def _end(self, name: str, uid: str) -> None:
        self.lines.append(f"{name} ends")
        await self.machine_gone.wait()
        self.lines.append(f"{name} is gone")


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_claim_is_looked_after_once_however_often_it_is_seen() -> None:
    story = Story()
    for _ in range(3):
        story.lives.begin("a", "1")
    await settle()
    assert story.lines == ["a begins"]
    await story.lives.close()


async def test_an_end_waits_for_the_step_that_is_under_way() -> None:
    story = Story()
    story.lives.begin("a", "1")
    ending = asyncio.ensure_future(story.lives.end("a", "1"))
    await settle()
    assert story.lines == ["a begins"]
    story.step_done.set()
    story.machine_gone.set()
    await ending
    assert story.lines == ["a begins", "a's step is done", "a ends", "a is gone"]
    assert not story.lives.living
    assert not story.lives.ending


async def test_a_claim_that_was_never_seen_alive_comes_to_its_end_too() -> None:
    story = Story()
    story.machine_gone.set()
    await story.lives.end("a", "1")
    assert story.lines == ["a ends", "a is gone"]


async def test_an_end_goes_on_when_its_caller_is_cancelled_and_is_joined_by_the_next() -> None:
    story = Story()
    first = asyncio.ensure_future(story.lives.end("a", "1"))
    await settle()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.ensure_future(story.lives.end("a", "1"))
    await settle()
    story.machine_gone.set()
    await second
    assert story.lines == ["a ends", "a is gone"]


async def test_nothing_begins_anew_while_it_ends() -> None:
    story = Story()
    ending = asyncio.ensure_future(story.lives.end("a", "1"))
    await settle()
    story.lives.begin("a", "1")
    await settle()
    assert story.lines == ["a ends"]
    story.machine_gone.set()
    await ending


async def test_closing_stops_everything_where_it_is() -> None:
    story = Story()
    story.lives.begin("a", "1")
    ending = asyncio.ensure_future(story.lives.end("b", "2"))
    await settle()
    await story.lives.close()
    await asyncio.gather(ending, return_exceptions=True)
    assert story.lines == ["a begins", "b ends"]
    assert not story.lives.living
    assert not story.lives.ending
