"""Fewer faults that do the same harm: delta debugging over a schedule (Zeller and Hildebrandt, *Simplifying and
Isolating Failure-Inducing Input*, 2002), within a bounded number of worlds."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def shrunk(whole: Sequence[T], fails: Callable[[Sequence[T]], Awaitable[bool]], *, tries: int) -> tuple[T, ...]:
    """A part of ``whole`` that still fails.

    :param fails: asked for parts; the whole is known to fail
    :param tries: how often it is asked at most
    """
    kept, parts = tuple(whole), 2
    if tries > 0 and await fails(()):
        return ()
    tries -= 1
    while len(kept) > 1:
        for without in _without_one(kept, parts):
            if tries <= 0:
                return kept
            tries -= 1
            if await fails(without):
                kept, parts = without, max(2, parts - 1)
                break
        else:
            if parts >= len(kept):
                return kept
            parts = min(len(kept), parts * 2)
    return kept


def _without_one(whole: tuple[T, ...], parts: int) -> list[tuple[T, ...]]:
    """The whole without each of so many parts of it."""
    bounds = [round(number * len(whole) / parts) for number in range(parts + 1)]
    return [whole[:start] + whole[end:] for start, end in itertools.pairwise(bounds)]
