"""Waiting for whichever comes first: something happened, or it is time.

Both sides are injected (an event, a clock), so that a test with a virtual clock waits for neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from autonodes.core.clock import Clock


async def wait_for_event(event: asyncio.Event, seconds: float | None, clock: Clock) -> bool:
    """Wait until the event is set, at most ``seconds`` (None: for ever).

    :return: whether the event is set
    """
    if event.is_set() or seconds is None:
        return await event.wait()
    happened = asyncio.ensure_future(event.wait())
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((happened, timer), return_when=asyncio.FIRST_COMPLETED)
    finally:
        happened.cancel()
        timer.cancel()
        await asyncio.gather(happened, timer, return_exceptions=True)
    return event.is_set()


async def first_to_return(*works: Coroutine[Any, Any, object]) -> None:
    """Run all of them until the first returns or raises; the others are cancelled, and what it raised is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


class Wakeups:
    """Who sleeps until something happens to *its* object.

    A wake-up that comes while its sleeper is awake is kept: the next `wait` returns at once, so that no change is
    lost between a look and the sleep after it. Keys without a sleeper cost nothing.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: dict[str, asyncio.Event] = {}

    @property
    def sleepers(self) -> Mapping[str, asyncio.Event]:
        return self._events

    def register(self, key: str) -> None:
        """From now on, wake-ups of this key count."""
        self._events.setdefault(key, asyncio.Event())

    def forget(self, key: str) -> None:
        self._events.pop(key, None)

    def wake(self, key: str) -> None:
        if (event := self._events.get(key)) is not None:
            event.set()

    def wake_all(self) -> None:
        for event in self._events.values():
            event.set()

    async def wait(self, key: str, seconds: float | None) -> None:
        """Sleep until somebody wakes this key, at most ``seconds`` (None: for ever)."""
        event = self._events.setdefault(key, asyncio.Event())
        await wait_for_event(event, seconds, self._clock)
        event.clear()
