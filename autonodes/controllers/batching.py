"""Collecting pods that come one by one into batches.

The first trigger opens a window. It closes when no further trigger came for ``idle`` seconds, and at the latest
``longest`` seconds after it was opened, so that a steady stream of pods can't keep everybody waiting. Triggers that
come while a batch is being worked on open the next window.
"""

from __future__ import annotations

import asyncio

from autonodes.controllers.waiting import wait_for_event
from autonodes.core.clock import Clock


class Batcher:
    """:param idle: seconds of quiet that close a window
    :param longest: seconds that a window is open at most
    """

    def __init__(self, *, idle: float, longest: float, clock: Clock) -> None:
        self._idle, self._longest, self._clock = idle, longest, clock
        self._triggered = asyncio.Event()

    def trigger(self) -> None:
        """Something is to be done; may be called as often as one likes."""
        self._triggered.set()

    async def window(self, *, at_latest: float | None = None) -> bool:
        """Return when a batch is complete.

        :param at_latest: give up waiting for a trigger after so many seconds
        :return: whether there was a trigger
        """
        if not await wait_for_event(self._triggered, at_latest, self._clock):
            return False
        closes = self._clock.now() + self._longest
        while self._triggered.is_set():
            self._triggered.clear()
            left = closes - self._clock.now()
            if left <= 0:
                break
            await wait_for_event(self._triggered, min(self._idle, left), self._clock)
        return True
