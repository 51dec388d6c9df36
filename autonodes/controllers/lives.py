"""Who looks after which claim.

For each claim there is one task: its life (`lifecycle`), and when it is to be deleted, in its place, its end
(`termination`). The two never overlap: an end begins when the life's current step is done, so that a purchase in
flight is not mistaken for a claim that never bought anything.

Both calls may be repeated. Whoever calls (kopf) may die and come back; the tasks go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from autonodes.controllers.waiting import Wakeups

Live = Callable[[str, str, asyncio.Event], Coroutine[Any, Any, None]]
"""Looks after the claim of this name and UID; returns when it is deleted, or soon after the event is set."""

End = Callable[[str, str], Coroutine[Any, Any, None]]
"""Ends the claim of this name and UID; returns when nothing is left of its machine."""


@dataclass(slots=True)
class _Life:
    name: str
    task: asyncio.Task[None]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


class Lives:
    def __init__(self, live: Live, end: End, wakeups: Wakeups) -> None:
        self._live, self._end, self._wakeups = live, end, wakeups
        self._lives: dict[str, _Life] = {}
        self._ends: dict[str, _Life] = {}

    @property
    def living(self) -> Mapping[str, str]:
        """UID → name of each claim that lives."""
        return {uid: life.name for uid, life in self._lives.items()}

    @property
    def ending(self) -> Mapping[str, str]:
        """UID → name of each claim that comes to its end."""
        return {uid: end.name for uid, end in self._ends.items()}

    def begin(self, name: str, uid: str) -> None:
        """Look after the claim from now on."""
        if uid in self._lives or uid in self._ends:
            return
        stopping = asyncio.Event()
        task = asyncio.create_task(self._live(name, uid, stopping), name=f"life of {name}")
        self._lives[uid] = _Life(name, task, stopping)
        task.add_done_callback(lambda _: self._lives.pop(uid, None))

    async def end(self, name: str, uid: str) -> None:
        """Bring the claim to its end; cancelling this call does not stop that."""
        if uid not in self._ends:
            task = asyncio.create_task(self._finish(name, uid), name=f"end of {name}")
            self._ends[uid] = _Life(name, task)
            task.add_done_callback(lambda _: self._ends.pop(uid, None))
        await asyncio.shield(self._ends[uid].task)

    async def _finish(self, name: str, uid: str) -> None:
        if (life := self._lives.get(uid)) is not None:
            life.stopping.set()
            self._wakeups.wake(name)
            await asyncio.wait({life.task})
        self._wakeups.forget(name)
        await self._end(name, uid)

    async def close(self) -> None:
        """Stop all tasks where they are; a successor goes on from there."""
        tasks = {each.task for each in (*self._lives.values(), *self._ends.values())}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
