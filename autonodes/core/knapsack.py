"""The most valuable load of one node: a knapsack with several resources and items that come in numbers.

Items are taken in the order of what they are worth for what their resources cost, as many of each as there is room
for. Then the choice is taken back item by item from the end, and what follows is filled anew, as long as what is left
of the node could be worth more than what has been found: no later item is worth more for its resources than the next
one. The number of such steps is limited; the first answer is good, and a few dozen steps make it nearly the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

_EPSILON = 1e-9

Sparse = tuple[tuple[int, int], ...]
"""Place and amount, where the amount is not 0."""


class Filled(NamedTuple):
    """:param counts: item → how many of it"""

    worth: float
    counts: Mapping[int, int]


class Knapsack:
    """:param sizes: of one of each item
    :param limits: how many of each fit alone, at most as many as there are
    """

    def __init__(self, room: Sequence[int], sizes: Sequence[Sparse], limits: Sequence[int]) -> None:
        self._room, self._sizes, self._limits = room, sizes, limits

    def fill(self, worth: Sequence[float], prices: Sequence[float], steps: int) -> Filled:
        """
        :param worth: of one of each item
        :param prices: of one unit of each resource, all zero if they are not known
        """
        order = sorted(
            (-value / max(_EPSILON, sum(prices[place] * need for place, need in self._sizes[item])), item)
            for item, value in enumerate(worth)
            if value > _EPSILON and self._limits[item] > 0
        )
        search = _Search(self, [item for _, item in order], [-ratio for ratio, _ in order], worth, prices)
        return search.run(steps)

    def fitting(self, item: int, room: Sequence[int]) -> int:
        count = self._limits[item]
        for place, need in self._sizes[item]:
            count = min(count, room[place] // need)
        return count

    def take(self, item: int, count: int, room: list[int]) -> None:
        for place, need in self._sizes[item]:
            room[place] -= need * count

    @property
    def room(self) -> list[int]:
        return list(self._room)


class _Search:
    """:param items: the best first
    :param ratios: what each is worth for a dollar's worth of resources
    """

    def __init__(
        self,
        sack: Knapsack,
        items: Sequence[int],
        ratios: Sequence[float],
        worth: Sequence[float],
        prices: Sequence[float],
    ) -> None:
        self._sack, self._items, self._ratios = sack, items, [*ratios, 0.0]
        self._worth, self._prices = worth, prices
        self._room, self._value = sack.room, 0.0
        self._counts = [0] * len(items)
        self._stack: list[int] = []
        self._best = Filled(0.0, {})

    def run(self, steps: int) -> Filled:
        self._fill_from(0)
        while self._stack and steps > 0:
            steps -= 1
            at = self._stack[-1]
            self._take(at, -1)
            if self._could_be_better(at + 1):
                self._fill_from(at + 1)
            else:
                self._take(at, -self._counts[at])
        return self._best

    def _fill_from(self, start: int) -> None:
        for at in range(start, len(self._items)):
            count = self._sack.fitting(self._items[at], self._room)
            if count > 0:
                self._take(at, count)
        if self._value > self._best.worth + _EPSILON:
            counts = {self._items[at]: self._counts[at] for at in self._stack}
            self._best = Filled(self._value, counts)

    def _take(self, at: int, count: int) -> None:
        """More or fewer of an item; the stack has those of which there are some, in their order."""
        if not self._counts[at]:
            self._stack.append(at)
        self._counts[at] += count
        self._sack.take(self._items[at], count, self._room)
        self._value += self._worth[self._items[at]] * count
        if not self._counts[at]:
            self._stack.pop()

    def _could_be_better(self, at: int) -> bool:
        left = sum(price * room for price, room in zip(self._prices, self._room, strict=True))
        return self._value + self._ratios[at] * left > self._best.worth + _EPSILON
