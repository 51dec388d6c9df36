"""Opening nodes, the best bargain first.

The waiting pods of a class (those that may run in the same places) get a worth from the marginal prices of the machines
that are on sale for them. Then, until none waits: fill a few promising machines in thought, find for each filling the
cheapest machine that holds it, take the one that costs least for what its pods are worth, and open as many nodes of
that kind as there are pods for. Each round uses up at least one kind of pods, so the number of rounds does not depend
on the number of pods.

A filling is a column in the sense of column generation, and its number of copies a variable. It is in terms of sizes;
which pods of a size go where is settled node by node where caps must be kept (see `dealing`).

Pods that must keep apart force nodes: of a hundred such pods each needs its own, while everything beside them would go
onto a few large machines. So they go first: each of their nodes is a *seed*, filled with what else waits, as long as
they force more nodes than the others need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from autonodes.core.bins import Bins
from autonodes.core.bitsets import lowest, union
from autonodes.core.caps import Counter
from autonodes.core.dealing import Kind, deal, forcing, kinds
from autonodes.core.filling import Item, Vector, by_fit, fillings
from autonodes.core.lanes import Lane
from autonodes.core.limits import Ledger
from autonodes.core.market import Machine, Market, vector
from autonodes.core.requirements import Requirements
from autonodes.core.shapes import Shape

PROMISING: Final = 12
"""Machines that are filled in thought; more cost time and hardly find better ones."""

FAVOURITES: Final = 3
"""Of those, the best few are looked at alone in the rounds that follow, as long as their bargains stay as good."""

WORSE: Final = 1.01
"""By which factor a bargain may be worse than the one before, until all promising machines are looked at again."""

WINDOW: Final = 64
"""Kinds that are considered in one round. A node holds few kinds of pods, so that an even choice of large and small
ones packs as well as all of them, and thousands of sizes cost no more than a few dozen."""

GENEROUS: Final = 1.5
"""How much dearer a seed's machine may be than an equal share of all that waits."""


@dataclass(frozen=True, slots=True)
class Filling:
    """:param bargain: what is compared: dollars for each dollar's worth of pods (1 is perfect), dollars a pod, the row
    :param row: the cheapest machine that holds it
    :param counts: pods of each kind that was considered
    """

    bargain: tuple[float, float, int]
    machine: Machine
    row: int
    counts: tuple[int, ...]


class Opening:
    """Buys for one class of shapes.

    :param waiting: how many pods of each shape wait
    :param lanes: those of all the shapes
    :param guests: shapes that may run elsewhere, too, but that force nodes, and how many of their pods belong here
    """

    def __init__(
        self,
        waiting: Mapping[Shape, int],
        lanes: Sequence[Lane],
        *,
        bins: Bins,
        ledger: Ledger,
        guests: Mapping[Shape, Sequence[Lane]] | None = None,
    ) -> None:
        self._waiting = dict(waiting)
        self._guests = guests or {}
        self._lanes, self._bins, self._ledger = lanes, bins, ledger
        self._catalog = bins.catalog
        self._names = sorted({name for shape in self._waiting for name in shape.requests})
        self._look_at_the_market()

    def run(self) -> dict[Shape, int]:
        """Open nodes until all pods have one or nothing that would help can be bought.

        :return: how many pods of which shapes are left
        """
        while (seed := self._forced()) is not None and self._open_seeds(*seed):
            pass
        self._sort(None)
        while active := self._active():
            window = self._window(active)
            filling = self._best(window)
            if filling is None or not self._open(window, filling):
                break
        return {shape: count for shape, count in self._waiting.items() if count}

    def _look_at_the_market(self) -> None:
        self._on_sale = self._ledger.affordable() & self._catalog.buyable & union(lane.rows for lane in self._lanes)
        self._market = Market(self._catalog, self._lanes, self._names, self._on_sale)
        self._appraised = False
        self._favourites: list[Machine] = []
        self._last = math.inf

    def _sort(self, apart: Counter) -> None:
        """Part the pods that wait into kinds, those that ``apart`` limits by themselves."""
        self._apart, self._kinds = apart, kinds(self._waiting, apart)
        self._sizes = [vector(kind.requests, self._names) for kind in self._kinds]
        self._fitting = [self._catalog.with_room(kind.requests) for kind in self._kinds]
        self._order = list(range(len(self._kinds)))
        self._appraised = False
        self._favourites = []

    def _active(self) -> list[int]:
        """Kinds of which pods wait that some machine on sale could hold, those of the greatest worth first."""
        active = [place for place in self._order if self._kinds[place].count and self._fitting[place] & self._on_sale]
        if active and not (self._appraised and any(self._items[place].worth for place in active)):
            self._appraise(active)
            active.sort(key=lambda place: (-self._items[place].worth, place))
            self._order = active
        return active

    def _appraise(self, active: Sequence[int]) -> None:
        self._appraised = True
        self._market.appraise(self._demand(active), self._useful(active))
        self._items = [
            Item(size, self._market.worth(size), kind.most, kind.devices)
            for kind, size in zip(self._kinds, self._sizes, strict=True)
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
        items, waiting = [self._items[place] for place in window], [self._kinds[place].count for place in window]
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

    def _forced(self) -> tuple[Counter, int] | None:
        """The counter that forces the most nodes, if they are more than the rest needs, and how many."""
        counter, nodes = forcing(self._waiting)
        if nodes < 2:
            return None
        self._sort(counter)
        active = self._active()
        if not active or nodes <= self._natural(active):
            return None
        return counter, nodes

    def _natural(self, active: Sequence[int]) -> int:
        """How many nodes there would be if nothing kept pods apart: so many of the largest machines."""
        demand, useful = self._demand(active), self._useful(active)
        machines = (each for each in self._market.machines if useful >> each.row & 1)
        return min((_at_least(demand, each.room) for each in machines), default=0)

    def _open_seeds(self, counter: Counter, nodes: int) -> bool:
        """Open the nodes that a counter forces; returns whether any was."""
        opened = False
        while True:
            active = self._active()
            seeds = [place for place in active if self._kinds[place].apart]
            if not seeds or nodes <= 0:
                return opened
            others = [place for place in active if not self._kinds[place].apart]
            copies = self._open_seed(seeds[0], self._window(others) if others else [], self._share(active, nodes))
            if not copies:
                return opened
            nodes -= copies
            opened = True

    def _share(self, active: Sequence[int], nodes: int) -> float:
        """Dollars that a seed's node may cost so that there is as much for the others."""
        return GENEROUS * sum(self._items[place].worth * self._kinds[place].count for place in active) / nodes

    def _open_seed(self, seed: int, others: Sequence[int], share: float) -> int:
        window = [seed, *others]
        items, waiting = [self._items[place] for place in window], [self._kinds[place].count for place in window]
        found = []
        for machine in self._for_seed(seed, share):
            counts = [0] * len(window)
            counts[0] = max(1, min(waiting[0], items[0].most or 1, _fitting(items[0].size, machine.room)))
            filled = by_fit(machine.room, items, [counts[0], *waiting[1:]], counts)
            found.append(self._filling(machine, items, filled))
        best = min((each for each in found if each), key=lambda each: each.bargain, default=None)
        return self._open(window, best, sparing=True) if best else 0

    def _for_seed(self, seed: int, share: float) -> list[Machine]:
        """The machines up to a price that hold it; in any case the cheapest two."""
        holding = [each for each in self._market.machines if self._fitting[seed] >> each.row & 1]
        within = [each for each in holding if each.price <= share]
        return within[-PROMISING:] if len(within) > 1 else holding[:2]

    def _open(self, window: Sequence[int], filling: Filling, *, sparing: bool = False) -> int:
        """Open nodes with this filling; returns how many. Sparing: take no more than half of what is there."""
        counts = {self._kinds[place]: count for place, count in zip(window, filling.counts, strict=True) if count}
        opened, wanted = 0, _copies(counts, sparing=sparing)
        copies = self._ledger.copies(self._catalog.rows[filling.row], wanted)
        for on_it, number in deal(counts, copies):
            if not self._open_nodes(filling.machine.lane, on_it, number):
                self._sort(self._apart)  # what was dealt still waits
                break
            opened += number
        return opened

    def _open_nodes(self, lane: Lane, on_it: dict[Shape, int], number: int) -> bool:
        lane = self._lane(lane, on_it)
        load: dict[str, int] = {}
        for shape, count in on_it.items():
            for name, amount in shape.requests.items():
                load[name] = load.get(name, 0) + amount * count
        rows = self._catalog.holding(load, lane.rows & self._on_sale)
        if not rows:
            return False
        self._bins.open(lane, lowest(rows), on_it, load, number)
        for shape, count in on_it.items():
            self._waiting[shape] -= count * number
        row = self._catalog.cheapest(rows)
        if self._ledger.buy(row, number):
            self._look_at_the_market()
        return True

    def _lane(self, lane: Lane, on_it: Iterable[Shape]) -> Lane:
        """The machine's; where only guests are on it what those have there, which leaves more of a choice."""
        if not self._guests or any(shape not in self._guests for shape in on_it):
            return lane
        wider = [next(each for each in self._guests[shape] if each.covers(lane)) for shape in on_it]
        rows = wider[0].rows
        for each in wider:
            rows &= each.rows
        return Lane(lane.pool, Requirements().intersection(*(each.open for each in wider)), rows)

    def _demand(self, places: Sequence[int]) -> Vector:
        return tuple(
            sum(self._sizes[place][name] * self._kinds[place].count for place in places)
            for name in range(len(self._names))
        )

    def _useful(self, places: Iterable[int]) -> int:
        """The rows on sale that hold at least one pod of these shapes."""
        return self._on_sale & union(self._fitting[place] for place in places)


def _copies(counts: Mapping[Kind, int], *, sparing: bool) -> int:
    """How many nodes there are pods for. Sparing: of the first kind, and of the others at most half."""
    first, *others = counts
    spared = 2 if sparing else 1
    wanted = (first.count // counts[first], *(max(1, kind.count // counts[kind] // spared) for kind in others))
    return max(1, min(wanted))


def _at_least(demand: Vector, room: Vector) -> int:
    """How many machines it takes, were pods a liquid."""
    return max(-(-asked // size) if size > 0 else int(asked > 0) for asked, size in zip(demand, room, strict=True))


def _fitting(size: Vector, room: Vector) -> int:
    return min(rest // need for rest, need in zip(room, size, strict=True) if need)
