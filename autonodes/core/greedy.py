"""Opening nodes, the best bargain first.

The waiting pods of a class (those that may run in the same places) get a worth from the marginal prices of the machines
that are on sale for them. Then, until none waits: fill a few promising machines in thought, find for each filling the
cheapest machine that holds it, take the one that costs least for what its pods are worth, and open as many nodes of
that kind as there are pods for. Each round uses up at least one shape, so the number of rounds does not depend on the
number of pods.

A filling is a column in the sense of column generation, and its number of copies a variable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from autonodes.core.bins import Bins
from autonodes.core.bitsets import bits, lowest, union
from autonodes.core.filling import Item, Vector, by_fit, in_proportion
from autonodes.core.lanes import Lane
from autonodes.core.limits import Ledger
from autonodes.core.marginal import marginal_prices
from autonodes.core.resources import Resources
from autonodes.core.shapes import Shape

PROMISING: Final = 12
"""Machines that are filled in thought in each round; more cost time and hardly find better ones."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The cheapest row of those with the same room in a lane."""

    lane: Lane
    row: int
    price: float
    room: Vector


@dataclass(frozen=True, slots=True)
class Filling:
    """:param bargain: what is compared: dollars for each dollar's worth of pods (1 is perfect), dollars a pod, the row
    :param row: the cheapest machine that holds it
    """

    bargain: tuple[float, float, int]
    lane: Lane
    row: int
    counts: tuple[int, ...]


class Opening:
    """Buys for one class of shapes.

    :param waiting: how many pods of each shape wait
    :param lanes: those of all the shapes
    """

    def __init__(self, waiting: Mapping[Shape, int], lanes: Sequence[Lane], *, bins: Bins, ledger: Ledger) -> None:
        self._shapes, self._waiting = list(waiting), list(waiting.values())
        self._lanes, self._bins, self._ledger = lanes, bins, ledger
        self._catalog = bins.catalog
        self._names = sorted({name for shape in self._shapes for name in shape.requests})
        self._sizes = [vector(shape.requests, self._names) for shape in self._shapes]
        self._fitting = [self._catalog.with_room(shape.requests) for shape in self._shapes]
        self._machines: dict[int, list[Machine]] = {}
        self._prices: tuple[float, ...] = ()

    def run(self) -> dict[Shape, int]:
        """Open nodes until all pods have one or nothing that would help can be bought.

        :return: how many pods of which shapes are left
        """
        while active := self._active():
            filling = self._best(active)
            if filling is None:
                break
            self._open(active, filling)
        return {shape: count for shape, count in zip(self._shapes, self._waiting, strict=True) if count}

    def _on_sale(self) -> int:
        return self._ledger.affordable() & self._catalog.buyable & union(lane.rows for lane in self._lanes)

    def _active(self) -> list[int]:
        """Shapes of which pods wait that some machine on sale could hold."""
        on_sale = self._on_sale()
        return [place for place, count in enumerate(self._waiting) if count and self._fitting[place] & on_sale]

    def _best(self, active: Sequence[int]) -> Filling | None:
        on_sale = self._on_sale()
        useful = on_sale & union(self._fitting[place] for place in active)
        waiting = [self._waiting[place] for place in active]
        items = self._items(active, useful)
        fillings = (
            self._filling(machine, items, counts, on_sale)
            for machine in self._promising(active, useful)
            for counts in _fillings(machine.room, items, waiting)
        )
        return min((each for each in fillings if each), key=lambda each: each.bargain, default=None)

    def _items(self, active: Sequence[int], useful: int) -> list[Item]:
        if not any(self._worth(place) for place in active):
            machines = [(machine.price, machine.room) for machine in self._machines_in(useful)]
            self._prices = marginal_prices(self._demand(active), machines)
        return [
            Item(
                self._sizes[place],
                self._worth(place),
                self._shapes[place].host_ports,
                bool(self._shapes[place].devices),
            )
            for place in active
        ]

    def _worth(self, place: int) -> float:
        return sum(price * size for price, size in zip(self._prices, self._sizes[place], strict=False))

    def _demand(self, active: Sequence[int]) -> list[int]:
        return [
            sum(self._sizes[place][name] * self._waiting[place] for place in active) for name in range(len(self._names))
        ]

    def _machines_in(self, rows: int) -> list[Machine]:
        """One for each room that rows of a lane have, at its cheapest."""
        if rows not in self._machines:
            found: dict[tuple[Lane, Vector], Machine] = {}
            for lane in self._lanes:
                for index in bits(lane.rows & rows):
                    row = self._catalog.rows[index]
                    room = vector(row.room, self._names)
                    found.setdefault((lane, room), Machine(lane, index, row.price, room))
            self._machines[rows] = list(found.values())
        return self._machines[rows]

    def _promising(self, active: Sequence[int], useful: int) -> list[Machine]:
        """The machines that would cost least for what they hold, were pods a liquid."""
        demand = self._demand(active)

        def ideal(machine: Machine) -> tuple[float, int]:
            held = sum(
                price * min(size, wanted)
                for price, size, wanted in zip(self._prices, machine.room, demand, strict=True)
            )
            return (machine.price / held if held > 0 else math.inf, machine.row)

        return sorted(self._machines_in(useful), key=ideal)[:PROMISING]

    def _filling(self, machine: Machine, items: Sequence[Item], counts: Sequence[int], on_sale: int) -> Filling | None:
        load = {
            name: sum(items[i].size[place] * count for i, count in enumerate(counts) if count)
            for place, name in enumerate(self._names)
        }
        rows = self._catalog.holding(load, machine.lane.rows & on_sale)
        if not rows or not any(counts):
            return None
        row = lowest(rows)
        price = self._catalog.rows[row].price
        worth = sum(item.worth * count for item, count in zip(items, counts, strict=True))
        bargain = (price / worth if worth > 0 else math.inf, price / sum(counts), row)
        return Filling(bargain, machine.lane, row, tuple(counts))

    def _open(self, active: Sequence[int], filling: Filling) -> None:
        counts = {place: count for place, count in zip(active, filling.counts, strict=True) if count}
        row = self._catalog.rows[filling.row]
        wanted = min(self._waiting[place] // count for place, count in counts.items())
        copies = self._ledger.copies(row, wanted)
        self._ledger.charge(row.pool.name, row.type.capacity, copies)
        self._bins.open(
            filling.lane, filling.row, {self._shapes[place]: count for place, count in counts.items()}, copies
        )
        for place, count in counts.items():
            self._waiting[place] -= count * copies


def vector(resources: Resources, names: Sequence[str]) -> Vector:
    return tuple(resources.get(name, 0) for name in names)


def _fillings(room: Vector, items: Sequence[Item], waiting: Sequence[int]) -> Iterator[list[int]]:
    yield in_proportion(room, items, waiting)
    yield by_fit(room, items, waiting)
