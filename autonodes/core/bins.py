"""Nodes to be bought, while they are being filled.

A bin stands for a number of equal nodes: the same pods of the same shapes on the same kind of machine. So ten thousand
pods of three shapes are a handful of bins, and adding pods to them costs no more than the number of bins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from autonodes.core.catalog import Catalog, Row
from autonodes.core.hostports import first_conflict
from autonodes.core.lanes import Lane
from autonodes.core.model import HostPort
from autonodes.core.requirements import Requirements
from autonodes.core.resources import add, times
from autonodes.core.shapes import Shape


@dataclass(eq=False)
class Bin:
    """:param rows: those whose labels suit every pod on it
    :param row: index of the cheapest of them that holds all; what the node will cost
    :param counts: pods of each shape on *one* node
    """

    pool: str
    open: Requirements
    rows: int
    row: int
    counts: dict[Shape, int]
    load: dict[str, int]
    taken: tuple[HostPort, ...] = ()
    copies: int = 1

    @property
    def pods(self) -> int:
        """On one node."""
        return sum(self.counts.values())


class Bins:
    """All bins of a plan, in the order in which they were opened."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.bins: list[Bin] = []

    def machine(self, bin_: Bin) -> Row:
        return self.catalog.rows[bin_.row]

    def open(self, lane: Lane, row: int, counts: dict[Shape, int], copies: int) -> None:
        """New nodes of one kind."""
        load = add(*(times(shape.requests, count) for shape, count in counts.items()))
        taken = tuple(port for shape in counts for port in shape.host_ports)
        self.bins.append(Bin(lane.pool, lane.open, lane.rows, row, counts, load, taken, copies))

    def join(self, shape: Shape, lanes: Iterable[Lane], count: int, but: Bin | None = None) -> int:
        """Put up to ``count`` pods onto nodes that are to be bought anyway, at no cost: their cheapest machines stay
        what they are.

        :param but: a bin to leave alone
        :return: how many found a place
        """
        by_pool: dict[str, list[Lane]] = {}
        for lane in lanes:
            by_pool.setdefault(lane.pool, []).append(lane)
        placed, index = 0, 0
        while placed < count and index < len(self.bins):  # the list grows where a bin is divided
            bin_ = self.bins[index]
            if bin_ is not but:
                for lane in by_pool.get(bin_.pool, ()):
                    placed += self._join(bin_, shape, lane, count - placed)
            index += 1
        return placed

    def _join(self, bin_: Bin, shape: Shape, lane: Lane, count: int) -> int:
        each = self._room_for(bin_, shape, count) if count else 0
        settled = self._settle(bin_, lane) if each else None
        if settled is None:
            return 0
        nodes = min(count // each, bin_.copies)
        self._put(bin_, shape, each, nodes, settled)
        return nodes * each

    def _room_for(self, bin_: Bin, shape: Shape, count: int) -> int:
        """How many pods of the shape one node of the bin takes, at most ``count``."""
        room, load = self.machine(bin_).room, bin_.load
        for name, amount in shape.requests.items():
            count = min(count, (room.get(name, 0) - load.get(name, 0)) // amount)
        if shape.host_ports and count > 0:
            return 0 if first_conflict(shape.host_ports, bin_.taken) else 1
        return max(0, count)

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
            rest = replace(bin_, counts=dict(bin_.counts), copies=bin_.copies - nodes)
            self.bins.insert(self.bins.index(bin_) + 1, rest)
            bin_.copies = nodes
        bin_.open, bin_.rows = settled
        bin_.counts[shape] = bin_.counts.get(shape, 0) + each
        bin_.load = add(bin_.load, times(shape.requests, each))
        bin_.taken += shape.host_ports
