"""Waiting longer and longer, with jitter, so that many clients don't come back at the same moment."""

from __future__ import annotations

import random


class Backoff:
    """Delays in seconds that double from ``first`` to ``limit``, each drawn from the upper half of its range."""

    def __init__(self, first: float, limit: float, *, random_source: random.Random | None = None) -> None:
        self._first, self._limit = first, limit
        self._random = random_source or random.Random()  # noqa: S311 -- jitter, not a secret
        self._next = first

    def next(self) -> float:
        """The delay to wait now; the following one is twice as long."""
        delay = self._next * self._random.uniform(0.5, 1.0)
        self._next = min(self._next * 2, self._limit)
        return delay

    def reset(self) -> None:
        """Start over after a success."""
        self._next = self._first
