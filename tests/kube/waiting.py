"""Waiting for what other tasks do, without saying how long it takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any


async def until(condition: Callable[[], bool]) -> None:
    """Until it holds; half a minute at most, lest a failed test should hang."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 -- conditions of many kinds; an event for each would test itself
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """With these in the background."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
