"""One object for equal values: ten thousand pods of a Deployment share their labels, requests and tolerations.

Strings go through `sys.intern`, which forgets those that nobody uses. Values go through a table that is emptied when it
is full: what is in use stays shared among its users, and the next equal value starts a new share.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from typing import Final, TypeVar

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)

CAPACITY: Final = 8192
"""Distinct values: labels of that many workloads; at about 1 kB each the table stays under 10 MB."""


class Interner:
    """A bounded table of values. Not for values that somebody changes."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._known: dict[Hashable, object] = {}

    def value(self, value: H) -> H:
        """``value``, or an equal one that was seen before."""
        return self.made(value, lambda: value)

    def strings(self, values: Mapping[str, str] | None) -> Mapping[str, str]:
        """A mapping of interned strings."""
        if not values:
            return _NOTHING
        key = frozenset(values.items())
        return self.made(key, lambda: {sys.intern(name): sys.intern(text) for name, text in values.items()})

    def numbers(self, values: Mapping[str, int]) -> Mapping[str, int]:
        """A mapping of interned names to integers."""
        key = (int, frozenset(values.items()))
        return self.made(key, lambda: {sys.intern(name): number for name, number in values.items()})

    def made(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made for ``key`` before, or what ``make`` makes now."""
        known = self._known.get(key)
        if known is not None:
            return known  # type: ignore[return-value]
        made = make()
        if len(self._known) >= self._capacity:
            self._known.clear()
        self._known[key] = made
        return made


_NOTHING: Final[Mapping[str, str]] = {}
