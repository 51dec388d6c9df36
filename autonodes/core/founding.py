"""Pods that must share a node with others, by affinity to ``kubernetes.io/hostname``: the node that they share is
opened with as many of them as it can hold.

A group that has a pod somewhere already must go where that is. Only one that has none is *founded*: those of its pods
that may be the first (they are in the group themselves), or one of the pods that the others want to be near to, and
then all that want to be there. What does not fit on that node waits: there can't be a second one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

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


def founders(waiting: Mapping[Shape, int], rooted: Collection[Counter]) -> list[list[tuple[Shape, int]]]:
    """For each group that is to be founded its pods, those that may come first before the others.

    :param rooted: counters to which some pod that runs or has a place adds
    """
    parties: list[list[tuple[Shape, int]]] = []
    known = set(rooted)
    for shape in waiting:
        needs = shape.caps.needs - known
        if not needs:
            continue
        guests = [each for each in waiting if each.caps.needs & needs]
        first = [each for each in guests if needs <= each.caps.counts]
        others = [(each, waiting[each]) for each in guests if each not in first]
        hosts = [(each, waiting[each]) for each in first] or _host(waiting, needs)
        if hosts:
            parties.append([*hosts, *others])
            known |= {counter for each, _ in parties[-1] for counter in each.caps.counts}
    return parties


def _host(waiting: Mapping[Shape, int], needs: Collection[Counter]) -> list[tuple[Shape, int]]:
    """One of the pods that the others want to be near to."""
    return next(([(each, 1)] for each in waiting if not each.caps.needs and each.caps.counts >= set(needs)), [])


class Founding:
    def __init__(self, bins: Bins, lanes: Lanes, ledger: Ledger) -> None:
        self._bins, self._lanes, self._ledger = bins, lanes, ledger
        self._catalog = bins.catalog

    def open(self, members: Iterable[tuple[Shape, int]]) -> Mapping[Shape, int]:
        """Open a node for them; returns the pods that have a place on it."""
        listed = list(members)
        on_sale = self._ledger.affordable() & self._catalog.buyable
        parties = [self._party(lane, on_sale, listed) for lane in self._lanes.of(listed[0][0])]
        found = [party for party in parties if party.pods and self._catalog.enough(party.lane.pool, party.rows)]
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
