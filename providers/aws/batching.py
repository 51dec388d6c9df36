"""Calls that come at about the same time become one.

The first item of a key opens a window; whatever comes before it closes goes with it, up to a number. Who waits and is
cancelled is no longer waited for; the batch goes on, for the others and because it may have changed something.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from autonodes.core.clock import Clock

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[K, T, R]):
    """:param carry_out: takes a batch of one key and gives a result, or an error, for each item in order
    :param window: seconds
    :param most: items in a batch
    """

    def __init__(
        self,
        carry_out: Callable[[K, Sequence[T]], Awaitable[Sequence[R | BaseException]]],
        clock: Clock,
        *,
        window: float,
        most: int,
    ) -> None:
        self._carry_out, self._clock, self._window, self._most = carry_out, clock, window, most
        self._open: dict[K, list[tuple[T, asyncio.Future[R]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, key: K, item: T) -> R:
        """The item's result.

        :raises Exception: whatever the batch says of this item, or of all of them
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        batch = self._open.get(key)
        if batch is None:
            batch = self._open[key] = []
            self._start(self._close_later(key, batch))
        batch.append((item, future))
        if len(batch) >= self._most:
            del self._open[key]
            self._start(self._run(key, batch))
        return await future

    async def close(self) -> None:
        """Cancel what is under way."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close_later(self, key: K, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        await self._clock.sleep(self._window)
        if self._open.get(key) is batch:
            del self._open[key]
            await self._run(key, batch)

    async def _run(self, key: K, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._carry_out(key, [item for item, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            _settle(future, result)


def _settle(future: asyncio.Future[R], result: R | BaseException) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
        future.exception()  # whoever waits sees it; nobody may be there any more
    else:
        future.set_result(result)
