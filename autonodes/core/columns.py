"""A cheaper packing than the one at hand, by column generation and diving.

A column is a filling of one node at the price of the cheapest supply that holds it. The master program chooses how
often each is bought, fractions allowed, so that every demand is met; its prices say what one of each demand is worth.
In each round these fill every supply in thought (`knapsack`), and what is worth more than it costs is a new column.
The prices jump from round to round, so they are mixed with the best ones so far, the first of which come from the
lower bound: that halves the number of rounds.

Then it dives: whole copies are bought for good, what is left is solved again with a round of new columns for it, until
nothing is left. With many pods the fractions that had to be rounded weigh little.

Everything is counted in rounds, none of which depends on a clock. The best answer wins, the one at hand included.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import le
from typing import Final

from autonodes.core.bound import Bound
from autonodes.core.knapsack import Knapsack, Sparse
from autonodes.core.linear import Column, LinearProgram
from autonodes.core.packing import Copies, Problem, undominated

STEPS: Final = 200
"""Of a knapsack; a thousand fill nodes hardly better."""

INERTIA: Final = 0.7
"""The share of the best prices so far in the mixture."""

PROMISING: Final = 0.97
"""A filling that is worth so much of its price is kept: one of the next rounds may want it."""

SUPPLIES: Final = 48
"""Supplies that are filled in a round, those of which most can be hoped for."""

SHARE: Final = 0.7
"""In the dive a column is bought whole if the solution has at least this share of it."""

_EPSILON: Final = 1e-6


def improve(problem: Problem, answer: Sequence[Copies], found: Bound, rounds: int) -> list[Copies]:
    """A packing of all demands that costs no more than the answer; the answer itself if nothing cheaper is found.

    :param answer: a packing of all demands
    :param found: the problem's bound; where the answer meets it, nothing is done
    :param rounds: of pricing
    """
    if rounds <= 0 or problem.cost(answer) <= found.value * (1 + _EPSILON):
        return list(answer)
    generation = _Generation(problem, found)
    generation.start(answer)
    generation.run(rounds)
    better = generation.dive()
    return better if problem.cost(better) < problem.cost(answer) - _EPSILON else list(answer)


class _Generation:
    def __init__(self, problem: Problem, found: Bound) -> None:
        self._problem, self._bound = problem, found
        self._left = [demand.count for demand in problem.demands]
        self._sizes: list[Sparse] = [
            tuple((place, need) for place, need in enumerate(demand.size) if need) for demand in problem.demands
        ]
        self._supplies = [index for index in undominated(problem.supplies) if any(problem.limits[index])]
        self._plain = self._find_plain()
        self._guides = {index: _Guide(problem, index) for index in self._supplies}
        self._center, self._reached = list(found.worth), -math.inf
        self._columns: dict[tuple[tuple[int, int], ...], Copies] = {}
        self._master = LinearProgram([(count, math.inf) for count in self._left])

    def start(self, answer: Iterable[Copies]) -> None:
        """With the columns of an answer, so that all demands can be met."""
        for copies in answer:
            supply = self._cheapest(copies.counts)
            self._add(copies.counts, copies.supply if supply is None else supply)

    def run(self, rounds: int) -> None:
        """Look for columns until there are no new ones."""
        self._price(self._center)
        for _ in range(rounds):
            prices = self._master.solve().prices
            mixed = [INERTIA * best + (1 - INERTIA) * now for best, now in zip(self._center, prices, strict=True)]
            if not self._price(mixed) and not self._price(prices):
                return

    def dive(self) -> list[Copies]:
        """Buy whole nodes until all demands are met."""
        bought: list[Copies] = []
        while any(self._left):
            self._price(self._master.solve().prices)
            whole = self._whole(self._master.solve().amounts)
            nodes = [copies for column, number in whole for copies in self._buy(column, number)]
            bought += nodes or self._alone()
            for item, count in enumerate(self._left):
                self._master.set_least(item, count)
        return bought

    def _price(self, worth: Sequence[float]) -> bool:
        """Fill supplies with what is left; returns whether there are new columns that pay."""
        hoped = sorted(
            (self._problem.supplies[index].price / max(_EPSILON, guide.look(worth)), index)
            for index, guide in self._guides.items()
        )
        new, most = False, 1.0
        for ratio, index in hoped[:SUPPLIES]:
            if ratio * PROMISING > 1:
                break
            price = self._problem.supplies[index].price
            filled = self._knapsack(index).fill(worth, self._guides[index].prices, STEPS)
            most = max(most, filled.worth / price if price else 1.0)
            if filled.worth > price * PROMISING:
                supply = self._cheapest(filled.counts)
                new |= supply is not None and self._add(filled.counts, supply) and filled.worth > price
        self._remember(worth, most)
        return new

    def _remember(self, worth: Sequence[float], most: float) -> None:
        """Prices at which no supply is worth more than it costs are bounds: the higher, the nearer to the best."""
        reached = sum(value * demand.count for value, demand in zip(worth, self._problem.demands, strict=True)) / most
        if reached > self._reached:
            self._center, self._reached = list(worth), reached

    def _knapsack(self, supply: int) -> Knapsack:
        limits = [min(limit, left) for limit, left in zip(self._problem.limits[supply], self._left, strict=True)]
        return Knapsack(self._problem.supplies[supply].room, self._sizes, limits)

    def _whole(self, amounts: Sequence[float]) -> list[tuple[Copies, int]]:
        """The columns of which the solution has at least one; else those of which it has most of one; else one."""
        columns = list(self._columns.values())
        whole = [(column, int(amount + _EPSILON)) for column, amount in zip(columns, amounts, strict=True)]
        if any(number for _, number in whole):
            return [(column, number) for column, number in whole if number]
        best = max(range(len(columns)), key=lambda at: (round(amounts[at], 6), -at))
        nearly = [column for column, amount in zip(columns, amounts, strict=True) if amount >= SHARE]
        return [(column, 1) for column in nearly or [columns[best]]]

    def _buy(self, column: Copies, number: int) -> Iterable[Copies]:
        """As many copies as are needed, the last of them with fewer pods and maybe on something cheaper."""
        while number:
            counts = {item: min(count, self._left[item]) for item, count in column.counts.items() if self._left[item]}
            supply = self._cheapest(counts) if counts else None
            if supply is None:
                return
            copies = min(number, *(self._left[item] // count for item, count in counts.items()))
            self._take(counts, copies)
            number -= copies
            yield Copies(supply, counts, copies)

    def _alone(self) -> list[Copies]:
        """Something for the first demand that is left, where no column helps any more."""
        item = next(item for item, left in enumerate(self._left) if left)
        supply = self._cheapest({item: 1})
        assert supply is not None  # some supply holds one of it, or there would be no answer to improve  # noqa: S101
        self._take({item: 1}, 1)
        return [Copies(supply, {item: 1}, 1)]

    def _take(self, counts: Mapping[int, int], copies: int) -> None:
        for item, count in counts.items():
            self._left[item] -= count * copies

    def _add(self, counts: Mapping[int, int], supply: int) -> bool:
        """A new column; False if it is there already, or has nothing on it."""
        key = tuple(sorted((item, count) for item, count in counts.items() if count))
        if not key or key in self._columns:
            return False
        self._columns[key] = Copies(supply, dict(key), 1)
        self._master.add([Column(self._problem.supplies[supply].price, dict(key))])
        return True

    def _cheapest(self, counts: Mapping[int, int]) -> int | None:
        """The cheapest supply that holds it; None if that has devices which nothing on it asks for, or needs."""
        load, problem = self._problem.load(counts), self._problem
        kinds = 0
        for item in counts:
            kinds |= 1 << problem.demands[item].kind
        for index in self._supplies:
            supply = problem.supplies[index]
            if (
                not kinds & ~supply.kinds
                and all(map(le, load, supply.room))
                and (all(load[place] for place in supply.devices) or not self._plain.issuperset(counts))
            ):
                return index
        return None

    def _find_plain(self) -> frozenset[int]:
        """The demands for which there is a supply without devices that they don't ask for."""
        found = set[int]()
        for index in self._supplies:
            devices = self._problem.supplies[index].devices
            for item, demand in enumerate(self._problem.demands):
                if self._problem.limits[index][item] and all(demand.size[place] for place in devices):
                    found.add(item)
        return frozenset(found)


class _Guide:
    """What the resources of one supply are worth while its nodes may be filled with fractions: a linear program of
    which only the objective changes.

    :ivar prices: of one unit of each resource
    """

    def __init__(self, problem: Problem, supply: int) -> None:
        self._room, limits = problem.supplies[supply].room, problem.limits[supply]
        self.prices = [0.0] * len(self._room)
        self._items = [item for item, limit in enumerate(limits) if limit]
        self._places = [
            place
            for place, room in enumerate(self._room)
            if room > 0 and any(problem.demands[item].size[place] for item in self._items)
        ]
        self._program = LinearProgram([(-math.inf, 1.0)] * len(self._places))
        self._program.add([self._column(problem.demands[item].size, limits[item]) for item in self._items])

    def look(self, worth: Sequence[float]) -> float:
        """What a node is worth at most."""
        self._program.set_costs([-worth[item] for item in self._items])
        solution = self._program.solve()
        for place, price in zip(self._places, solution.prices, strict=True):
            self.prices[place] = max(0.0, -price) / self._room[place]
        return -solution.value

    def _column(self, size: Sequence[int], limit: int) -> Column:
        entries = {row: size[place] / self._room[place] for row, place in enumerate(self._places) if size[place]}
        return Column(0.0, entries, limit)
