"""The collector leaves alone what is there for long, and nothing is kept for ever."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from autonodes.cli.memory import INTERVAL, settle


class Ring:
    """Refers to itself: only the collector can free it."""

    def __init__(self) -> None:
        self.myself = self


class Clock:
    """Ends after so many sleeps, before each of which something may happen."""

    def __init__(self, *happenings: object) -> None:
        self._happenings = list(happenings)
        self.slept: list[float] = []

    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if not self._happenings:
            raise asyncio.CancelledError
        happening = self._happenings.pop(0)
        if callable(happening):
            happening()


async def test_what_is_there_is_left_alone_and_looked_through_after_a_while() -> None:
    rings = [Ring()]
    gone = weakref.ref(rings[0])
    seen: list[bool] = []

    def let_go() -> None:
        rings.clear()
        gc.collect()
        seen.append(gone() is not None)

    clock = Clock(let_go)
    try:
        with pytest.raises(asyncio.CancelledError):
            await settle(clock)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
    assert seen == [True]  # as long as it is left alone
    assert gone() is None
    assert clock.slept == [INTERVAL, INTERVAL]
