"""Packing as pure mathematics: demands that come in numbers, supplies that can be bought in any number, at least cost.

Sizes and rooms are vectors of integers over the same places. A place is a resource, or a rule of the form "at most k of
these on one node" (hostname anti-affinity, a host port): a resource of which each member takes 1 and a node has k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

Vector = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Demand:
    """Things of one size.

    :param size: of one of them
    :param kind: demands of one kind suit the same supplies
    """

    size: Vector
    count: int
    kind: int = 0


@dataclass(frozen=True, slots=True)
class Supply:
    """Something to put them on.

    :param price: of one
    :param kinds: the kinds of demands that may be on it, one bit a kind
    :param devices: the places that something on it must ask for, if anything without them could hold the same
    """

    room: Vector
    price: float
    kinds: int = -1
    devices: frozenset[int] = frozenset()


class Copies(NamedTuple):
    """A number of equal nodes.

    :param supply: index of the supply
    :param counts: demand → how many of it on *one* node
    """

    supply: int
    counts: Mapping[int, int]
    number: int


@dataclass(frozen=True)
class Problem:
    demands: Sequence[Demand]
    supplies: Sequence[Supply]

    @cached_property
    def limits(self) -> Sequence[Sequence[int]]:
        """For each supply, how many of each demand fit on one of it alone."""
        return [[most(demand, supply) for demand in self.demands] for supply in self.supplies]

    def load(self, counts: Mapping[int, int]) -> list[int]:
        """What a node must have room for."""
        total = [0] * len(self.demands[0].size)
        for index, count in counts.items():
            for place, amount in enumerate(self.demands[index].size):
                total[place] += amount * count
        return total

    def cost(self, answer: Sequence[Copies]) -> float:
        return sum(self.supplies[each.supply].price * each.number for each in answer)


def most(demand: Demand, supply: Supply) -> int:
    """How many of a demand fit on one of a supply; never more than there are."""
    if not supply.kinds >> demand.kind & 1:
        return 0
    count = demand.count
    for size, room in zip(demand.size, supply.room, strict=True):
        if size:
            count = min(count, room // size)
    return max(0, count)


def undominated(supplies: Sequence[Supply]) -> list[int]:
    """The supplies worth looking at, the cheapest first: of no other that costs no more there is room for all that
    theirs is for. Whatever is planned on a dominated one could be put on the other."""
    kept: list[int] = []
    order = sorted(range(len(supplies)), key=lambda index: (supplies[index].price, _negative(supplies[index]), index))
    for index in order:
        if not any(_at_least(supplies[other], supplies[index]) for other in kept):
            kept.append(index)
    return kept


def _negative(supply: Supply) -> Vector:
    return tuple(-amount for amount in supply.room)


def _at_least(one: Supply, other: Supply) -> bool:
    if other.kinds & ~one.kinds or one.devices - other.devices:
        return False
    return all(mine >= its for mine, its in zip(one.room, other.room, strict=True))
