"""What a packing costs at least: the linear program in which nodes and pods may be split, strengthened.

For each demand s and supply t, ``x[s,t]`` pods of s run on ``n[t]`` nodes of t:

- every pod runs somewhere: the sum of ``x[s,t]`` over t is the demand's count;
- the nodes have room: the sum of ``x[s,t] · size[s]`` over s is at most ``n[t] · room[t]``, for each resource;
- no node holds more of one kind than fits on it alone: ``x[s,t] ≤ most(s,t) · n[t]``. This is what makes it strong:
  without it, three pods of two GPUs would share five thirds of a machine with four of them, and so on.

Every packing satisfies all of these, so that none costs less. What a packing must satisfy beside them is left out:
the bound holds all the same and may be lower than it need be.

The program stays small, whatever the number of pods. Supplies that others dominate are left out (exact). Of more than
`MOST_CELLS` different sizes similar ones are taken together as if all were as small as the smallest of them, resource
by resource (lower, never higher); which ones does not depend on the supplies, so that more of these never raise the
bound. Supplies come in as they pay: those that the prices of a solution show to be no bargain can't change it.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from autonodes.core.linear import Column, LinearProgram, Solution
from autonodes.core.packing import Demand, Problem, Supply, Vector, most, undominated

MOST_CELLS: Final = 320
"""Different sizes in the program; for a hundred supplies some ten thousand columns and half a second."""

MOST_KINDS: Final = 40
"""Different kinds in the program; the demands of all others are taken for a kind that suits what any of them suits."""

AT_ONCE: Final = 24
"""Supplies that come into the program in one round."""

ROUNDING: Final = 1e-7
"""The solver's tolerance, by which the bound is lowered: it must not be above a plan that meets it exactly."""


@dataclass(frozen=True, slots=True)
class Bound:
    """:param value: dollars an hour below which no packing of all demands exists
    :param worth: what one of each demand adds to it, at least to a few digits; 0 for what no supply holds, which is
        left out of the value
    """

    value: float
    worth: Sequence[float]


def bound(problem: Problem) -> Bound:
    """The lower bound on what a packing costs, and how it is made up."""
    merged = _merged_kinds(problem)
    supplies = [merged.supplies[index] for index in undominated(merged.supplies)]
    held = [index for index, demand in enumerate(merged.demands) if any(most(demand, supply) for supply in supplies)]
    if not held:
        return Bound(0.0, [0.0] * len(problem.demands))
    cells = merge([merged.demands[index] for index in held], MOST_CELLS)
    value, prices = _Relaxation([cell.rounded_down for cell in cells], supplies).solve()
    worth = [0.0] * len(problem.demands)
    for cell, price in zip(cells, prices, strict=True):
        for member in cell.members:
            worth[held[member]] = max(0.0, price)
    return Bound(value * (1 - ROUNDING), worth)


def merge(demands: Sequence[Demand], most_cells: int) -> list[Cell]:
    """At most so many cells (or one a kind) in which all demands lie.

    The cell that loses most by being rounded down is cut in two where it is widest, again and again.
    """
    total = [max(1, sum(each.size[place] * each.count for each in demands)) for place in range(len(demands[0].size))]
    cells = [Cell(demands, members, total) for members in _by_kind(demands)]
    queue = [(-cell.loss, number) for number, cell in enumerate(cells)]
    heapq.heapify(queue)
    while len(cells) < most_cells and queue[0][0] < 0:
        number = heapq.heappop(queue)[1]
        cells[number], other = cells[number].cut()
        cells.append(other)
        heapq.heappush(queue, (-cells[number].loss, number))
        heapq.heappush(queue, (-other.loss, len(cells) - 1))
    return cells


class Cell:
    """Demands of one kind that are taken together.

    :param members: their indices
    :param total: of all demands, by place: what makes losses in different places comparable
    """

    def __init__(self, demands: Sequence[Demand], members: Sequence[int], total: Sequence[int]) -> None:
        self.members = members
        self._demands, self._total = demands, total
        inside = [demands[index] for index in members]
        count = sum(each.count for each in inside)
        corner = tuple(map(min, zip(*(each.size for each in inside), strict=True)))
        self.rounded_down = Demand(corner, count, inside[0].kind)
        sums = (sum(each.size[place] * each.count for each in inside) for place in range(len(corner)))
        self._losses = [(have - corner[place] * count) / total[place] for place, have in enumerate(sums)]
        self.loss = max(self._losses)

    def cut(self) -> tuple[Cell, Cell]:
        """At the place that loses most."""
        place = self._losses.index(self.loss)
        ordered = sorted(self.members, key=lambda index: self._demands[index].size[place])
        inside = [self._demands[index] for index in ordered]
        at = _best_cut([each.size[place] for each in inside], [each.count for each in inside])
        parts = (ordered[:at], ordered[at:])
        lower, upper = (Cell(self._demands, members, self._total) for members in parts)
        return lower, upper


def _best_cut(sizes: Sequence[int], counts: Sequence[int]) -> int:
    """Where to cut so that most is won: what lies above gets a corner that is higher by the difference."""
    above, best, found = sum(counts), -1, 0
    for index, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        won = (size - sizes[0]) * above
        if won > best and size > sizes[max(0, index - 1)]:
            best, found = won, index
        above -= count
    return found


def _by_kind(demands: Sequence[Demand]) -> list[list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for index, demand in enumerate(demands):
        found[demand.kind].append(index)
    return [found[kind] for kind in sorted(found)]


def _merged_kinds(problem: Problem) -> Problem:
    """With at most `MOST_KINDS` kinds: the rarest ones become one that may go wherever any of them may."""
    counts: dict[int, int] = defaultdict(int)
    for demand in problem.demands:
        counts[demand.kind] += demand.count
    rare = sorted(counts, key=lambda kind: (-counts[kind], kind))[MOST_KINDS:]
    if not rare:
        return problem
    mask, into = sum(1 << kind for kind in rare), rare[0]
    demands = [replace(each, kind=into) if each.kind in rare else each for each in problem.demands]
    supplies = [replace(each, kinds=each.kinds | (1 << into if each.kinds & mask else 0)) for each in problem.supplies]
    return Problem(demands, supplies)


class _Relaxation:
    """The program over some of the supplies, and whether the others could lower its value.

    :param supplies: the cheapest first
    """

    def __init__(self, demands: Sequence[Demand], supplies: Sequence[Supply]) -> None:
        self._demands, self._supplies = demands, supplies
        self._rows: list[tuple[float, float]] = []
        self._row_of: dict[int, Mapping[int, int]] = {}

    def solve(self) -> tuple[float, Sequence[float]]:
        """The value, and what one of each demand adds to it."""
        chosen = self._first_choice()
        while True:
            solution = self._solve(chosen)
            paying = self._paying(chosen, solution.prices)
            if not paying:
                return solution.value, solution.prices[: len(self._demands)]
            chosen = sorted({*chosen, *paying})

    def _first_choice(self) -> list[int]:
        """Small and large ones, and for each demand something that holds it."""
        step = max(1, len(self._supplies) // AT_ONCE)
        holding = (
            next(index for index, supply in enumerate(self._supplies) if most(demand, supply))
            for demand in self._demands
        )
        return sorted({*range(0, len(self._supplies), step), *holding})

    def _solve(self, chosen: Iterable[int]) -> Solution:
        self._rows = [(demand.count, math.inf) for demand in self._demands]
        columns = [column for index in chosen for column in self._columns(index)]
        program = LinearProgram(self._rows)
        program.add(columns)
        return program.solve()

    def _columns(self, index: int) -> list[Column]:
        """Of one supply: its nodes and the pods on them; the rows that they need are appended."""
        supply, rows = self._supplies[index], self._rows
        limits = [(place, limit) for place, demand in enumerate(self._demands) if (limit := most(demand, supply))]
        used = [p for p, room in enumerate(supply.room) if any(self._demands[at].size[p] for at, _ in limits)]
        row_of = self._row_of[index] = {place: len(rows) + number for number, place in enumerate(used)}
        rows += [(-math.inf, 0.0)] * len(used)
        nodes = dict.fromkeys(row_of.values(), -1.0)
        columns = []
        for at, limit in limits:
            size = self._demands[at].size
            entries = {
                at: 1.0,
                **{row: size[place] / supply.room[place] for place, row in row_of.items() if size[place]},
            }
            if not _implied(limit, size, supply.room, self._demands[at].count):
                entries[len(rows)], nodes[len(rows)] = 1.0, -float(limit)
                rows.append((-math.inf, 0.0))
            columns.append(Column(0.0, entries))
        return [Column(supply.price, nodes), *columns]

    def _paying(self, chosen: Sequence[int], prices: Sequence[float]) -> list[int]:
        """Of the supplies that were left out those that may lower the value, the best bargains first, a few at once.

        At the prices of the solution a node of a supply must be worth more than it costs. At most it is worth its room,
        at any prices of the resources, and for each pod on it what that is worth beyond its size; the prices that the
        next cheaper and the next dearer chosen supply have are a good guess.
        """
        worth, known = prices[: len(self._demands)], set(chosen)
        found = []
        for index in range(len(self._supplies)):
            if index not in known:
                at = bisect_left(chosen, index)
                near = chosen[max(0, at - 2) : at + 2]
                gain = min(self._worth(index, self._prices(other, prices), worth) for other in near)
                if gain > self._supplies[index].price * (1 + ROUNDING / 10):
                    found.append((self._supplies[index].price / gain, index))
        return [index for _, index in sorted(found)[:AT_ONCE]]

    def _prices(self, index: int, prices: Sequence[float]) -> dict[int, float]:
        """Of one unit of each resource on a chosen supply."""
        room = self._supplies[index].room
        return {place: max(0.0, -prices[row]) / room[place] for place, row in self._row_of[index].items()}

    def _worth(self, index: int, prices: Mapping[int, float], worth: Sequence[float]) -> float:
        supply = self._supplies[index]
        total = sum(price * supply.room[place] for place, price in prices.items())
        for demand, value in zip(self._demands, worth, strict=True):
            beyond = value - sum(price * demand.size[place] for place, price in prices.items())
            if beyond > 0:
                total += beyond * most(demand, supply)
        return total


def _implied(limit: int, size: Vector, room: Vector, count: int) -> bool:
    """Whether room alone keeps a node from holding more: some resource is used up without a rest."""
    return limit < count and any(limit * need == have for need, have in zip(size, room, strict=True) if need)
