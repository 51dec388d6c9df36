"""Reading one's own writes: what was written must be in the cache before the cache is counted again.

A plan that is made while a claim of the plan before is still on its way to the cache would buy for the same pods once
more. So every name that is written is expected, and the next plan waits until the cache has told of it, be it that it
came or that it went again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from autonodes.controllers.waiting import wait_for_event
from autonodes.core.clock import Clock

log = logging.getLogger(__name__)


class Expectations:
    """:param exists: asks the API server itself about a name that does not show up
    :param patience: seconds after which it is asked
    """

    def __init__(self, exists: Callable[[str], Awaitable[bool]], clock: Clock, *, patience: float) -> None:
        self._exists, self._clock, self._patience = exists, clock, patience
        self._names: set[str] = set()
        self._met = asyncio.Event()
        self._met.set()

    @property
    def names(self) -> frozenset[str]:
        """What is going to be written, or was and does not show yet."""
        return frozenset(self._names)

    def expect(self, name: str) -> None:
        """It is going to be written."""
        self._names.add(name)
        self._met.clear()

    def observe(self, name: str) -> None:
        """The cache told of it, or it was not written after all."""
        self._names.discard(name)
        if not self._names:
            self._met.set()

    async def met(self) -> None:
        """Wait until the cache has told of everything that is there.

        :raises ApiError: the API server can't be asked; some may be missing yet
        """
        while not await wait_for_event(self._met, self._patience, self._clock):
            for name in sorted(self._names):
                if await self._exists(name):
                    log.error(
                        "the cache does not show %s, which exists: its watch may be dead; nothing is planned", name
                    )
                else:
                    self.observe(name)
