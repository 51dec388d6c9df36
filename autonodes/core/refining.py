"""Buying anew, for less: the packing that greedy found is the start of column generation (`columns`).

What was bought is put in the terms of a packing: pods of one size that may go to the same rows are a demand, rows of
the same room a supply. The packing that comes back is opened node by node, and what found no place (caps that pods of
one size don't share, labels that pods must agree on, limits) is bought for as before. Whichever costs less is taken:
every node of either keeps all rules, for both were filled under them.

How long this may take is said in seconds and counted in rounds, by what a round costs on a slow core; so the answer
does not depend on how busy the machine is. Pools of different weight are seen to apart: a better price does not move a
pod to a pool of a lower weight.

Nodes out of a reservation stay as they are: they cost (next to) nothing, and there are only so many, which a packing
does not know. It is the others that are packed anew.

Limits: with more than `MOST_DEMANDS` different demands nothing is tried. Pods with caps are packed as if only the cap
that forces the most nodes were there, and the rest is left to chance and greed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import le
from typing import Final

from autonodes.core.bins import Bin, Bins
from autonodes.core.bitsets import bits, lowest
from autonodes.core.bound import bound
from autonodes.core.buying import Purchasing, Waiting
from autonodes.core.caps import Counter
from autonodes.core.catalog import Catalog
from autonodes.core.columns import improve
from autonodes.core.dealing import Kind, deal, forcing, kinds
from autonodes.core.errors import EnvironmentFault
from autonodes.core.lanes import Lane, Lanes
from autonodes.core.packing import Copies, Demand, Problem, Supply, undominated
from autonodes.core.requirements import Requirements
from autonodes.core.resources import add, times

MOST_DEMANDS: Final = 400

PAIRS_A_SECOND: Final = 50_000
"""Demands times supplies that a slow core prices in a second."""

OVERHEAD: Final = 30
"""Rounds that the bound and the dive cost."""

MOST_ROUNDS: Final = 100


def refine(
    bought: Purchasing, attempt: Purchasing, lanes: Lanes, rooted: Collection[Counter], seconds: float
) -> Purchasing:
    """The same pods on nodes that cost no more together.

    :param bought: has a node for every pod that waits
    :param attempt: has bought nothing yet
    :param rooted: counters to which some pod that runs or has a place adds
    :param seconds: of a slow core
    """
    left: Waiting = defaultdict(int)
    for bin_ in bought.bins.bins:
        if 1 << bin_.row & bought.bins.catalog.counted:
            attempt.bins.open(_lane(bin_), bin_.row, dict(bin_.counts), dict(bin_.load), bin_.copies)
            attempt.ledger.buy(bought.bins.machine(bin_), bin_.copies)
            continue
        for shape, count in bin_.counts.items():
            left[shape] += count * bin_.copies
    for bins in _by_weight(bought.bins):
        packing = _Packing(bought.bins.catalog, lanes, bins)
        for copies in packing.improved(seconds):
            packing.open(copies, attempt, left)
    if not attempt.bins.bins or attempt.buy({shape: count for shape, count in left.items() if count}, rooted):
        return bought
    return attempt if _cost(attempt.bins) < _cost(bought.bins) else bought


def _lane(bin_: Bin) -> Lane:
    return Lane(bin_.pool, bin_.open, bin_.rows)


def _by_weight(bins: Bins) -> Iterable[list[Bin]]:
    """Those that are packed anew."""
    found: dict[int, list[Bin]] = defaultdict(list)
    for bin_ in bins.bins:
        if not 1 << bin_.row & bins.catalog.counted:
            found[bins.machine(bin_).pool.weight].append(bin_)
    return [found[weight] for weight in sorted(found, reverse=True)]


def _cost(bins: Bins) -> float:
    return sum(bins.machine(bin_).price * bin_.copies for bin_ in bins.bins)


@dataclass(eq=False)
class _Class:
    """Pods that may go to the same rows.

    :param rows: by pool
    """

    rows: Mapping[str, int]
    waiting: Waiting


class _Packing:
    """Some bins as a problem."""

    def __init__(self, catalog: Catalog, lanes: Lanes, bins: Sequence[Bin]) -> None:
        self._catalog = catalog
        pools = frozenset(bin_.pool for bin_ in bins)
        self._classes = _classes(bins, lanes, pools)
        waiting = {shape: count for each in self._classes for shape, count in each.waiting.items()}
        self._counter, _ = forcing(waiting)
        self._names = sorted({name for shape in waiting for name in shape.requests})
        self._kinds: list[tuple[int, Kind]] = [
            (number, kind) for number, each in enumerate(self._classes) for kind in kinds(each.waiting, self._counter)
        ]
        self._bins = bins
        self._problem = Problem(self._demands(), self._supplies())

    def improved(self, seconds: float) -> list[Copies]:
        """Empty if nothing was tried."""
        pairs = len(self._problem.demands) * len(self._problem.supplies)
        if not pairs or len(self._problem.demands) > MOST_DEMANDS:
            return []
        rounds = int(seconds * PAIRS_A_SECOND / pairs) - OVERHEAD
        if rounds <= 0:
            return []
        try:
            return improve(self._problem, list(self._answer()), bound(self._problem), min(MOST_ROUNDS, rounds))
        except EnvironmentFault:
            return []  # a solver that fails must not keep anyone from the first answer

    def open(self, copies: Copies, attempt: Purchasing, left: Waiting) -> None:
        """Buy these nodes and take their pods off those that are left."""
        pool = self._catalog.rows[self._rows[copies.supply]].pool.name
        rows = self._catalog.every
        for item in copies.counts:
            rows &= self._classes[self._kinds[item][0]].rows[pool]
        lane = Lane(pool, Requirements(), rows)
        for counts, number in deal({self._kinds[item][1]: n for item, n in copies.counts.items()}, copies.number):
            load = add(*(times(shape.requests, count) for shape, count in counts.items()))
            affordable = attempt.ledger.affordable() & ~self._catalog.counted
            on_sale = self._catalog.holding(load, rows & self._catalog.buyable & affordable)
            if not on_sale or not self._catalog.enough(pool, on_sale):
                continue
            row = lowest(on_sale)
            bought = attempt.ledger.copies(self._catalog.rows[row], number)
            if bought:
                attempt.bins.open(lane, row, counts, load, bought)
                attempt.ledger.buy(self._catalog.rows[row], bought)
                for shape, count in counts.items():
                    left[shape] -= count * bought

    def _demands(self) -> list[Demand]:
        return [
            Demand(
                (*(kind.requests.get(name, 0) for name in self._names), int(kind.apart), 0),
                kind.count,
                number,
            )
            for number, kind in self._kinds
        ]

    def _supplies(self) -> list[Supply]:
        """The cheapest row for each room and each set of classes that it suits, if no other is better in all ways.

        Their last two places are the cap that forces the most nodes, and a device that nobody asks for.
        """
        apart = max((kind.most or 0 for _, kind in self._kinds), default=0)
        suits: dict[int, int] = defaultdict(int)
        for number, each in enumerate(self._classes):
            for rows in each.rows.values():
                for index in bits(rows & self._catalog.buyable & ~self._catalog.counted):
                    suits[index] |= 1 << number
        devices = {name: place for place, name in enumerate(self._names)}
        found: dict[object, tuple[int, Supply]] = {}
        for index in sorted(suits):
            row = self._catalog.rows[index]
            room = (*(row.room.get(name, 0) for name in self._names), apart, 0)
            asked = frozenset(devices.get(name, len(room) - 1) for name in row.devices)
            found.setdefault((room, suits[index], asked), (index, Supply(room, row.price, suits[index], asked)))
        listed = list(found.values())
        kept = [listed[place] for place in undominated([supply for _, supply in listed])]
        self._rows = [index for index, _ in kept]
        return [supply for _, supply in kept]

    def _answer(self) -> Iterable[Copies]:
        """What greedy bought, as far as the problem knows its pods."""
        item_of = {shape: item for item, (_, kind) in enumerate(self._kinds) for shape in kind.waiting}
        for bin_ in self._bins:
            counts: dict[int, int] = defaultdict(int)
            for shape, count in bin_.counts.items():
                if shape in item_of:
                    counts[item_of[shape]] += count
            if counts:
                yield Copies(self._holding(counts), dict(counts), bin_.copies)

    def _holding(self, counts: Mapping[int, int]) -> int:
        """The cheapest supply with room for these; there is one, since greedy has found it or one that is worse."""
        load = self._problem.load(counts)
        classes = 0
        for item in counts:
            classes |= 1 << self._kinds[item][0]
        return next(
            number
            for number, supply in enumerate(self._problem.supplies)
            if not classes & ~supply.kinds and all(map(le, load[:-2], supply.room))
        )


def _classes(bins: Iterable[Bin], lanes: Lanes, pools: frozenset[str]) -> list[_Class]:
    """Without the pods that need company on their node, or must agree with it on labels that the claim settles."""
    found: dict[tuple[Lane, ...], _Class] = {}
    for bin_ in bins:
        for shape, count in bin_.counts.items():
            mine = tuple(lane for lane in lanes.of(shape) if lane.pool in pools)
            if not shape.caps.needs and not any(lane.open for lane in mine):
                known = found.setdefault(mine, _Class({lane.pool: lane.rows for lane in mine}, {}))
                known.waiting[shape] = known.waiting.get(shape, 0) + count * bin_.copies
    return list(found.values())
