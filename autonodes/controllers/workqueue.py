"""Keys to be looked at, each by one worker at a time, again after a failure.

`add` may be called as often as one likes; a key that is added while it is being worked on is looked at once more. A
failure puts the key back after a growing pause, and every key is looked at again after the resync time, so that a lost
change costs minutes at most.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final

from autonodes.controllers.waiting import wait_for_event
from autonodes.core.clock import Clock
from autonodes.core.errors import AutonodesError
from autonodes.kube.backoff import Backoff
from autonodes.kube.errors import ConflictError

log = logging.getLogger(__name__)

_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 60.0
"""Seconds between two tries of a key that fails."""


class WorkQueue:
    """:param work: looks at one key; what it raises is logged and tried again
    :param resync: seconds after which every known key is looked at again
    """

    def __init__(
        self, name: str, work: Callable[[str], Awaitable[None]], clock: Clock, *, resync: float = 300.0
    ) -> None:
        self._name, self._work, self._clock, self._resync = name, work, clock, resync
        self._due: dict[str, float] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._added = asyncio.Event()

    def add(self, key: str, *, after: float = 0.0) -> None:
        """Look at it ``after`` seconds from now at the latest; what comes more often than that is one look."""
        self._due[key] = min(self._due.get(key, math.inf), self._clock.now() + after)
        self._added.set()

    def forget(self, key: str) -> None:
        """It is gone."""
        self._due.pop(key, None)
        self._backoffs.pop(key, None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            key, pause = self._next()
            if key is None:
                self._added.clear()
                await wait_for_event(self._added, pause, self._clock)
            else:
                self._due[key] = self._clock.now() + self._resync
                await self._attempt(key)

    def _next(self) -> tuple[str | None, float | None]:
        """The key whose turn it is, or the seconds until there is one."""
        if not self._due:
            return None, None
        key = min(self._due, key=lambda each: (self._due[each], each))
        pause = self._due[key] - self._clock.now()
        return (key, None) if pause <= 0 else (None, pause)

    async def _attempt(self, key: str) -> None:
        try:
            await self._work(key)
        except ConflictError:
            self._again(key, 0.1)  # somebody wrote in between
        except AutonodesError as error:
            log.warning("%s %s: %s", self._name, key, error)
            self._retry(key)
        except Exception:
            log.exception("%s %s: a defect", self._name, key)
            self._retry(key)
        else:
            self._backoffs.pop(key, None)

    def _retry(self, key: str) -> None:
        backoff = self._backoffs.setdefault(key, Backoff(_FIRST_RETRY, _LAST_RETRY))
        self._again(key, backoff.next())

    def _again(self, key: str, pause: float) -> None:
        if key in self._due:
            self._due[key] = min(self._due[key], self._clock.now() + pause)
