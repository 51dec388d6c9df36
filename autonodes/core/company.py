"""In which domains pods are that others must share a node with, so that those are told the same domains.

Only what was told in this plan is known. Where some pod of a group runs, or may go where it likes, nothing is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from autonodes.core.caps import Counter
from autonodes.core.shapes import Shape


class Company:
    def __init__(self) -> None:
        self._needed: frozenset[Counter] = frozenset()
        self._anywhere: set[Counter] = set()
        self._at: dict[Counter, list[Mapping[str, str]]] = defaultdict(list)

    def expect(self, shapes: Iterable[Shape], free: Iterable[Shape]) -> None:
        """:param free: those that are told nothing"""
        self._needed = frozenset[Counter]().union(*(shape.caps.needs for shape in shapes))
        self._anywhere.update(counter for shape in free for counter in shape.caps.counts & self._needed)

    def settle(self, shape: Shape, at: Mapping[str, str]) -> None:
        for counter in shape.caps.counts & self._needed:
            if at not in self._at[counter]:
                self._at[counter].append(dict(at))

    def there(self, shape: Shape, at: Mapping[str, str]) -> bool:
        """Whether all that the shape's pods need could be on one node in these domains."""
        return all(
            any(all(other.get(key, value) == value for key, value in at.items()) for other in self._at[counter])
            for counter in shape.caps.needs - self._anywhere
            if self._at[counter]
        )
