"""What is on sale for one class of pods, and what their resources are worth there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import mul

from autonodes.core.bitsets import bits
from autonodes.core.catalog import Catalog
from autonodes.core.filling import Vector
from autonodes.core.lanes import Lane
from autonodes.core.marginal import marginal_prices
from autonodes.core.resources import Resources


@dataclass(frozen=True, slots=True)
class Machine:
    """The cheapest row of those with the same room in a lane."""

    lane: Lane
    row: int
    price: float
    room: Vector


class Market:
    """:param names: the resources that matter, in the order of the vectors
    :param on_sale: the rows that can be bought at this moment
    """

    def __init__(self, catalog: Catalog, lanes: Iterable[Lane], names: Sequence[str], on_sale: int) -> None:
        found: dict[tuple[Lane, Vector], Machine] = {}
        for lane in lanes:
            for index in bits(lane.rows & on_sale):
                row = catalog.rows[index]
                room = vector(row.room, names)
                found.setdefault((lane, room), Machine(lane, index, row.price, room))

        def of_choice(machine: Machine) -> bool:
            held = catalog.with_room(dict(zip(names, machine.room, strict=True)))
            return catalog.enough(machine.lane.pool, held & machine.lane.rows & on_sale)

        self.machines = sorted(filter(of_choice, found.values()), key=lambda machine: machine.row)
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


def vector(resources: Resources, names: Sequence[str]) -> Vector:
    return tuple(resources.get(name, 0) for name in names)
