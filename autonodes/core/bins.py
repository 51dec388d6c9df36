"""Nodes to be bought, while they are being filled.

A bin stands for a number of equal nodes: the same pods of the same shapes on the same kind of machine. So ten thousand
pods of three shapes are a handful of bins, and adding pods to them costs no more than the number of bins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from autonodes.core.bitsets import Thresholds, bits
from autonodes.core.caps import Counter, Tally
from autonodes.core.catalog import Catalog, Row
from autonodes.core.lanes import Lane
from autonodes.core.requirements import Requirements
from autonodes.core.resources import add, times
from autonodes.core.shapes import Shape

NOT_LOOKED_AT: Final = 16
"""Bins that may be added before the thresholds are made anew."""


@dataclass(eq=False)
class Bin:
    """:param rows: those whose labels suit every pod on it
    :param row: index of the cheapest of them that holds all; what the node will cost
    :param counts: pods of each shape on *one* node
    :param tally: of the pods on one node
    """

    pool: str
    open: Requirements
    rows: int
    row: int
    counts: dict[Shape, int]
    load: dict[str, int]
    tally: Tally = field(default_factory=Tally)
    copies: int = 1

    @property
    def pods(self) -> int:
        """On one node."""
        return sum(self.counts.values())


class Bins:
    """All bins of a plan, in the order in which they were opened.

    Which bins may have room for a shape is answered by thresholds on what was free when they were last looked at: since
    then it can only have become less, so none is missed.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.bins: list[Bin] = []
        self._free: dict[str, Thresholds] = {}
        self._looked_at = 0

    @property
    def counters(self) -> frozenset[Counter]:
        """Those to which some pod on them adds."""
        return frozenset(counter for bin_ in self.bins for counter, count in bin_.tally.counts.items() if count)

    def machine(self, bin_: Bin) -> Row:
        return self.catalog.rows[bin_.row]

    def open(self, lane: Lane, row: int, counts: dict[Shape, int], load: dict[str, int], copies: int) -> None:
        """New nodes of one kind."""
        tally = Tally()
        for shape, count in counts.items():
            tally.add(shape.caps, count)
        self.bins.append(Bin(lane.pool, lane.open, lane.rows, row, counts, load, tally, copies))

    def join(self, shape: Shape, lanes: Iterable[Lane], count: int) -> int:
        """Put up to ``count`` pods onto nodes that are to be bought anyway, at no cost: their cheapest machines stay
        what they are.

        :return: how many found a place
        """
        by_pool: dict[str, list[Lane]] = {}
        for lane in lanes:
            by_pool.setdefault(lane.pool, []).append(lane)
        placed = 0
        for index in self._with_room(shape):
            if placed == count:
                break
            bin_ = self.bins[index]
            for lane in by_pool.get(bin_.pool, ()):
                placed += self._join(bin_, shape, lane, count - placed)
        return placed

    def _with_room(self, shape: Shape) -> Iterator[int]:
        """Indices of the bins that may have room; those that are opened meanwhile come last."""
        if len(self.bins) > self._looked_at + NOT_LOOKED_AT:
            self._free = {}
            self._looked_at = len(self.bins)
        mask = (1 << self._looked_at) - 1
        for name, amount in shape.requests.items():
            if name not in self._free:
                free = (self.machine(bin_).room.get(name, 0) - bin_.load.get(name, 0) for bin_ in self.bins)
                self._free[name] = Thresholds(islice(free, self._looked_at))
            mask &= self._free[name].at_least(amount)
        yield from bits(mask)
        index = self._looked_at
        while index < len(self.bins):
            yield index
            index += 1

    def _join(self, bin_: Bin, shape: Shape, lane: Lane, count: int) -> int:
        each = self._room_for(bin_, shape, count) if count else 0
        settled = self._settle(bin_, lane) if each else None
        if settled is None:
            return 0
        held = self.catalog.with_room(add(bin_.load, times(shape.requests, each)))
        if not self.catalog.enough(bin_.pool, settled[1] & held & self.catalog.buyable):
            return 0
        nodes = min(count // each, bin_.copies)
        self._put(bin_, shape, each, nodes, settled)
        return nodes * each

    def _room_for(self, bin_: Bin, shape: Shape, count: int) -> int:
        """How many pods of the shape one node of the bin takes, at most ``count``."""
        room, load = self.machine(bin_).room, bin_.load
        for name, amount in shape.requests.items():
            count = min(count, (room.get(name, 0) - load.get(name, 0)) // amount)
        return bin_.tally.room_for(shape.caps, count) if count > 0 else 0

    def _settle(self, bin_: Bin, lane: Lane) -> tuple[Requirements, int] | None:
        """What the node must then settle and the rows that are left; None if its machine would no longer do."""
        together, rows = bin_.open, bin_.rows & lane.rows
        if lane.open != bin_.open:
            together = bin_.open & lane.open
            rows &= self.catalog.labels.satisfying(bin_.pool, together)
        return (together, rows) if rows >> bin_.row & 1 else None

    def _put(self, bin_: Bin, shape: Shape, each: int, nodes: int, settled: tuple[Requirements, int]) -> None:
        """Add ``each`` pods to ``nodes`` of the bin's nodes; if those are not all, the rest become a bin apart."""
        if nodes < bin_.copies:
            rest = replace(bin_, counts=dict(bin_.counts), tally=bin_.tally.copy(), copies=bin_.copies - nodes)
            self.bins.append(rest)
            bin_.copies = nodes
        bin_.open, bin_.rows = settled
        bin_.counts[shape] = bin_.counts.get(shape, 0) + each
        bin_.load = add(bin_.load, times(shape.requests, each))
        bin_.tally.add(shape.caps, each)
