"""Pods that must share a node with others, by affinity to ``kubernetes.io/hostname``: the node that they share is
opened with as many of them as it can hold.

With one of the pods that the others want to be near to come all that want to be there, and with another one those that
had no room beside the first. Where nobody of the group is anywhere or waits to go where it likes, those that are in the
group themselves may be the first, on one node: what does not fit there waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from autonodes.core.bins import Bins
from autonodes.core.bitsets import lowest
from autonodes.core.caps import Caps, Counter, Tally
from autonodes.core.lanes import Lane, Lanes
from autonodes.core.limits import Ledger
from autonodes.core.resources import add, times
from autonodes.core.shapes import Shape


@dataclass(frozen=True, slots=True)
class _Party:
    """The pods of a node to be.

    :param rows: those that hold them
    """

    lane: Lane
    rows: int
    counts: Mapping[Shape, int]
    load: Mapping[str, int]

    @property
    def pods(self) -> int:
        return sum(self.counts.values())


Party = Sequence[tuple[Shape, int]]
"""Shapes and how many of their pods, those that may come first before the others."""

MOST_HOSTS: Final = 8
"""Shapes that are tried as those that the others follow."""


def founders(
    waiting: Mapping[Shape, int], rooted: Collection[Counter], tried: Collection[Counter]
) -> tuple[frozenset[Counter], list[Party]] | None:
    """The next group that is to have a node and the ways to do it; None if there is no such group.

    :param rooted: counters to which some pod that runs or has a place adds
    :param tried: groups that are done
    """
    for shape in waiting:
        needs = shape.caps.needs.difference(tried)
        if needs:
            return needs, list(_ways(waiting, needs, may_be_first=not needs & set(rooted)))
    return None


def _ways(waiting: Mapping[Shape, int], needs: frozenset[Counter], *, may_be_first: bool) -> Iterator[Party]:
    guests = [(each, count) for each, count in waiting.items() if each.caps.needs & needs]
    first = [(each, count) for each, count in guests if needs <= each.caps.counts]
    others = [each for each in guests if each not in first]
    free = [each for each in waiting if needs <= each.caps.counts and not needs <= each.caps.needs]
    hosts = [each for each in free if not each.caps.needs]
    if first and not free and may_be_first:
        yield [*first, *others]
    for host in hosts[:MOST_HOSTS]:
        yield [(host, 1), *first, *others]


class Founding:
    def __init__(self, bins: Bins, lanes: Lanes, ledger: Ledger) -> None:
        self._bins, self._lanes, self._ledger = bins, lanes, ledger
        self._catalog = bins.catalog

    def open(self, needs: frozenset[Counter], ways: Iterable[Party]) -> Mapping[Shape, int]:
        """Open a node for the most of them; returns the pods that have a place on it. A host alone founds nothing, and
        nothing is founded without one."""
        on_sale = self._ledger.affordable() & self._catalog.buyable
        parties = [self._party(lane, on_sale, way) for way in ways for lane in self._lanes.of(way[0][0])]
        found = [
            party
            for party in parties
            if any(shape.caps.needs & needs for shape in party.counts)
            and any(shape.caps.counts >= needs for shape in party.counts)
            and self._catalog.enough(party.lane.pool, party.rows)
        ]
        if not found:
            return {}
        best = min(found, key=lambda each: (-each.pods, self._index(each)))
        index = self._index(best)
        lane = Lane(best.lane.pool, best.lane.open, best.lane.rows)
        self._bins.open(lane, index, dict(best.counts), dict(best.load), 1)
        self._ledger.buy(self._catalog.rows[index], 1)
        return best.counts

    def _index(self, party: _Party) -> int:
        return lowest(self._catalog.holding(party.load, party.rows))

    def _party(self, lane: Lane, on_sale: int, members: Iterable[tuple[Shape, int]]) -> _Party:
        party = _Party(lane, lane.rows & on_sale, {}, {})
        tally = Tally()
        for shape, count in members:
            caps = Caps(shape.caps.counts, shape.caps.limits)
            for theirs in self._lanes.of(shape):
                together = party.lane.open & theirs.open
                rows = party.lane.rows & theirs.rows & self._catalog.labels.satisfying(lane.pool, together)
                if theirs.pool == lane.pool and rows and shape not in party.counts:
                    number = self._fitting(shape, tally.room_for(caps, count), party.load, rows & party.rows)
                    if number:
                        tally.add(caps, number)
                        load = add(party.load, times(shape.requests, number))
                        held = rows & party.rows & self._catalog.with_room(load)
                        counts = {**party.counts, shape: number}
                        party = _Party(Lane(lane.pool, together, rows), held, counts, load)
        return party

    def _fitting(self, shape: Shape, most: int, load: Mapping[str, int], rows: int) -> int:
        """How many pods the largest of the rows take beside what is there, by bisection."""
        least = 0
        while least < most:
            middle = (least + most + 1) // 2
            if rows & self._catalog.with_room(add(load, times(shape.requests, middle))):
                least = middle
            else:
                most = middle - 1
        return least
