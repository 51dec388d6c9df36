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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from autonodes.core.bins import Bins
from autonodes.core.bitsets import lowest, union
from autonodes.core.filling import Item, Vector, fillings
from autonodes.core.lanes import Lane
from autonodes.core.limits import Ledger
from autonodes.core.market import Machine, Market, vector
from autonodes.core.shapes import Shape

PROMISING: Final = 12
"""Machines that are filled in thought; more cost time and hardly find better ones."""

FAVOURITES: Final = 3
"""Of those, the best few are looked at alone in the rounds that follow, as long as their bargains stay as good."""

WORSE: Final = 1.01
"""By which factor a bargain may be worse than the one before, until all promising machines are looked at again."""

WINDOW: Final = 64
"""Shapes that are considered in one round. A node holds few kinds of pods, so that an even choice of large and small
ones packs as well as all of them, and thousands of shapes cost no more than a few dozen."""


@dataclass(frozen=True, slots=True)
class Filling:
    """:param bargain: what is compared: dollars for each dollar's worth of pods (1 is perfect), dollars a pod, the row
    :param row: the cheapest machine that holds it
    :param counts: pods of each shape that was considered
    """

    bargain: tuple[float, float, int]
    machine: Machine
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
        self._order = list(range(len(self._shapes)))
        self._favourites: list[Machine] = []
        self._last = math.inf
        self._look_at_the_market()

    def run(self) -> dict[Shape, int]:
        """Open nodes until all pods have one or nothing that would help can be bought.

        :return: how many pods of which shapes are left
        """
        while active := self._active():
            window = self._window(active)
            filling = self._best(window)
            if filling is None:
                break
            self._open(window, filling)
        return {shape: count for shape, count in zip(self._shapes, self._waiting, strict=True) if count}

    def _look_at_the_market(self) -> None:
        self._on_sale = self._ledger.affordable() & self._catalog.buyable & union(lane.rows for lane in self._lanes)
        self._market = Market(self._catalog, self._lanes, self._names, self._on_sale)
        self._items: list[Item] = []
        self._favourites = []

    def _active(self) -> list[int]:
        """Shapes of which pods wait that some machine on sale could hold, those of the greatest worth first."""
        active = [place for place in self._order if self._waiting[place] and self._fitting[place] & self._on_sale]
        if active and not any(self._items[place].worth for place in active if self._items):
            self._appraise(active)
            active.sort(key=lambda place: (-self._items[place].worth, place))
            self._order = active
        return active

    def _appraise(self, active: Sequence[int]) -> None:
        self._market.appraise(self._demand(active), self._useful(active))
        self._items = [
            Item(size, self._market.worth(size), shape.host_ports, bool(shape.devices))
            for shape, size in zip(self._shapes, self._sizes, strict=True)
        ]

    def _window(self, active: Sequence[int]) -> list[int]:
        """An even choice from large to small."""
        step = max(1.0, len(active) / WINDOW)
        return [active[int(number * step)] for number in range(min(WINDOW, len(active)))]

    def _best(self, window: Sequence[int]) -> Filling | None:
        """The best bargain; among the favourites alone while they are as good as before."""
        found = self._fillings(self._favourites, window)
        if not found or found[0].bargain[0] > self._last * WORSE:
            promising = self._market.promising(self._demand(window), self._useful(window))
            found = self._fillings(promising[:PROMISING], window)
            self._favourites = list(dict.fromkeys(filling.machine for filling in found))[:FAVOURITES]
        if not found:
            return None
        self._last = found[0].bargain[0]
        return found[0]

    def _fillings(self, machines: Iterable[Machine], window: Sequence[int]) -> list[Filling]:
        """The best first."""
        items, waiting = [self._items[place] for place in window], [self._waiting[place] for place in window]
        found = [
            self._filling(machine, items, counts)
            for machine in machines
            for counts in fillings(machine.room, items, waiting)
        ]
        return sorted((each for each in found if each), key=lambda each: each.bargain)

    def _filling(self, machine: Machine, items: Sequence[Item], counts: Sequence[int]) -> Filling | None:
        """What it costs on the cheapest machine that holds it; None if nothing is on it."""
        packed = [(item, count) for item, count in zip(items, counts, strict=True) if count]
        if not packed:
            return None
        load = {name: sum(item.size[place] * count for item, count in packed) for place, name in enumerate(self._names)}
        row = lowest(self._catalog.holding(load, machine.lane.rows & self._on_sale))
        price = self._catalog.rows[row].price
        worth = sum(item.worth * count for item, count in packed)
        bargain = (price / worth if worth > 0 else math.inf, price / sum(counts), row)
        return Filling(bargain, machine, row, tuple(counts))

    def _open(self, window: Sequence[int], filling: Filling) -> None:
        counts = {place: count for place, count in zip(window, filling.counts, strict=True) if count}
        row = self._catalog.rows[filling.row]
        wanted = min(self._waiting[place] // count for place, count in counts.items())
        copies = self._ledger.copies(row, wanted)
        on_it = {self._shapes[place]: count for place, count in counts.items()}
        self._bins.open(filling.machine.lane, filling.row, on_it, copies)
        for place, count in counts.items():
            self._waiting[place] -= count * copies
        if self._ledger.buy(row, copies):
            self._look_at_the_market()

    def _demand(self, places: Sequence[int]) -> Vector:
        return tuple(
            sum(self._sizes[place][name] * self._waiting[place] for place in places) for name in range(len(self._names))
        )

    def _useful(self, places: Iterable[int]) -> int:
        """The rows on sale that hold at least one pod of these shapes."""
        return self._on_sale & union(self._fitting[place] for place in places)
