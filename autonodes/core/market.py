"""What is on sale for one class of pods, and what their resources are worth there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final
from weakref import WeakKeyDictionary

from autonodes.core.bitsets import bits
from autonodes.core.catalog import Catalog
from autonodes.core.filling import Vector
from autonodes.core.lanes import Lane
from autonodes.core.marginal import marginal_prices
from autonodes.core.requirements import Requirements
from autonodes.core.resources import Resources

MOST_KEPT: Final = 100
"""Lists of machines of one catalogue that are kept before all are forgotten."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The cheapest row of those with the same room."""

    lane: Lane
    row: int
    price: float
    room: Vector


class Market:
    """:param names: the resources that matter, in the order of the vectors
    :param on_sale: the rows that can be bought at this moment
    """

    def __init__(self, catalog: Catalog, lanes: Iterable[Lane], names: Sequence[str], on_sale: int) -> None:
        self.machines = _machines(catalog, tuple(lanes), tuple(names), on_sale)
        self._worth = (0.0,) * len(names)

    def appraise(self, demand: Sequence[int], useful: int) -> None:
        """Give each resource its worth.

        :param useful: the rows that hold at least one of the pods that demand it
        """
        machines = [(each.price, each.room) for each in self.machines if useful >> each.row & 1]
        self._worth = marginal_prices(demand, machines)

    def worth(self, size: Vector) -> float:
        return float(sum(map(mul, self._worth, size)))

    def promising(self, demand: Sequence[int], useful: int) -> list[Machine]:
        """The useful machines; first those that would cost least for what they hold, were pods a liquid."""

        def ideal(machine: Machine) -> tuple[float, int]:
            held = self.worth(tuple(map(min, machine.room, demand)))
            return (machine.price / held if held > 0 else math.inf, machine.row)

        return sorted((each for each in self.machines if useful >> each.row & 1), key=ideal)


def _machines(catalog: Catalog, lanes: tuple[Lane, ...], names: tuple[str, ...], on_sale: int) -> Sequence[Machine]:
    """In the order of price; what several pools have alike only once. They are kept, for one plan after another is for
    pods that may go to the same places.
    """
    known = _KNOWN.setdefault(catalog, {})
    key = (lanes, names, on_sale)
    found = known.get(key)
    if found is None:
        listed = (machine for lane in lanes for machine in _distinct(catalog, lane, names, on_sale))
        best: dict[tuple[Requirements, Vector], Machine] = {}
        for machine in sorted(listed, key=lambda each: each.row):
            best.setdefault((machine.lane.open, machine.room), machine)
        found = list(best.values())
        if len(known) >= MOST_KEPT:
            _KNOWN[catalog] = known = {}
        known[key] = found
    return found


_KNOWN: WeakKeyDictionary[Catalog, dict[object, Sequence[Machine]]] = WeakKeyDictionary()


def _distinct(catalog: Catalog, lane: Lane, names: Sequence[str], on_sale: int) -> Iterator[Machine]:
    """Those of a lane that leave enough of a choice."""
    found: dict[Vector, Machine] = {}
    looked_at: set[int] = set()
    for index in bits(lane.rows & on_sale):
        row = catalog.rows[index]
        if id(row.room) not in looked_at:  # offerings of a type share it, and the first one is the cheapest
            looked_at.add(id(row.room))
            room = vector(row.room, names)
            if room not in found:
                found[room] = Machine(lane, index, row.price, room)
    for machine in found.values():
        load = dict(zip(names, machine.room, strict=True))
        if catalog.enough(lane.pool, catalog.holding(load, lane.rows & on_sale)):
            yield machine


def vector(resources: Resources, names: Sequence[str]) -> Vector:
    return tuple(resources.get(name, 0) for name in names)
