"""Buying for all shapes that found no place: pools by weight, the choosiest pods first.

Pools of the greatest weight are tried first; among equals the price decides, and then the name. Within them those pods
come first that have the fewest rows to choose from, since all others can use what they leave.

Limits may leave pods without a node. If so, and if the pods differ in priority, everything is bought anew by priority:
only then does the order matter, and the packing is worse for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from autonodes.core.bins import Bins
from autonodes.core.bitsets import union
from autonodes.core.caps import Counter
from autonodes.core.catalog import Catalog
from autonodes.core.founding import Founding, founders
from autonodes.core.greedy import Opening
from autonodes.core.lanes import Lane, Lanes
from autonodes.core.limits import Ledger
from autonodes.core.model import NodePool
from autonodes.core.shapes import Shape

Waiting = dict[Shape, int]


class Purchasing:
    """One attempt at buying; what it has bought is in ``bins``, what that costs the limits in ``ledger``.

    :param avoiding: lanes that pods would rather keep to; the others are for those that find nothing there
    :ivar relaxed: whether some pods had to leave them
    """

    def __init__(
        self, catalog: Catalog, lanes: Lanes, pools: Sequence[NodePool], ledger: Ledger, *, avoiding: Lanes
    ) -> None:
        self.bins = Bins(catalog)
        self.ledger = ledger
        self.relaxed = False
        self._every, self._lanes = lanes, avoiding
        self._tiers = [
            frozenset(pool.name for pool in tier)
            for _, tier in groupby(sorted(pools, key=lambda pool: -pool.weight), key=lambda pool: pool.weight)
        ]

    def buy(self, waiting: Mapping[Shape, int], rooted: Collection[Counter] = ()) -> Waiting:
        """Buy for these pods.

        :param rooted: counters to which some pod that runs or has a place adds
        :return: how many of each shape are left
        """
        left = self._buy_in_lanes(dict(waiting), rooted)
        if left and self._lanes is not self._every:
            avoiding, self._lanes, self.relaxed = self._lanes, self._every, True
            left = self._buy_in_lanes(left, rooted)
            self._lanes = avoiding
        return left

    def _buy_in_lanes(self, waiting: Waiting, rooted: Collection[Counter]) -> Waiting:
        left = self._found(waiting, rooted)
        near = {shape: count for shape, count in left.items() if shape.caps.needs}
        left = self._buy({shape: count for shape, count in left.items() if not shape.caps.needs})
        for shape, count in near.items():
            left[shape] = count - self.join(shape, count)
        return {shape: count for shape, count in left.items() if count}

    def _found(self, waiting: Waiting, rooted: Collection[Counter]) -> Waiting:
        """Open the nodes of pods that must share one."""
        if not any(shape.caps.needs for shape in waiting):
            return waiting
        known, tried = {*rooted, *self.bins.counters}, set[Counter]()
        while (found := founders(waiting, known, tried)) is not None:
            needs, ways = found
            opened = Founding(self.bins, self._lanes, self.ledger).open(needs, ways)
            for shape, count in opened.items():
                waiting[shape] -= count
                known |= shape.caps.counts
            waiting = {shape: count for shape, count in waiting.items() if count}
            if not opened:
                tried |= needs
        return waiting

    def _buy(self, waiting: Mapping[Shape, int]) -> Waiting:
        left = dict(waiting)
        for tier in self._tiers:
            classes = list(self._classes(left, tier))
            guests = self._invite(classes, left)
            for lanes, shapes in classes:
                invited = guests.get(lanes, {})
                self._serve(lanes, {shape: left[shape] for shape in shapes if shape in left}, invited, left)
        return left

    def buy_by_priority(self, waiting: Mapping[Shape, int], rooted: Collection[Counter] = ()) -> Waiting:
        """Buy for the pods of the highest priority first."""
        left: Waiting = {}
        ordered = sorted(waiting, key=lambda shape: (-shape.priority, shape.index))
        for _, shapes in groupby(ordered, key=lambda shape: shape.priority):
            left.update(self.buy({shape: waiting[shape] for shape in shapes}, rooted))
        return left

    def join(self, shape: Shape, count: int) -> int:
        """Put up to ``count`` pods onto nodes that are bought anyway; returns how many found a place."""
        return self.bins.join(shape, self._lanes.of(shape), count)

    def _serve(self, lanes: Sequence[Lane], waiting: Waiting, invited: Waiting, left: Waiting) -> None:
        for shape in waiting:
            waiting[shape] -= self.join(shape, waiting[shape])
        asked = {**waiting, **{shape: min(count, left[shape]) for shape, count in invited.items() if shape in left}}
        guests = {shape: self._lanes.of(shape) for shape in invited}
        rest = Opening(asked, lanes, bins=self.bins, ledger=self.ledger, guests=guests).run()
        for shape in waiting:
            left[shape] = rest.get(shape, 0)
        for shape in guests:
            if shape in asked:
                left[shape] -= asked[shape] - rest.get(shape, 0)
        for shape in asked:
            if not left[shape]:
                del left[shape]

    def _invite(
        self, classes: Sequence[tuple[tuple[Lane, ...], list[Shape]]], left: Waiting
    ) -> dict[tuple[Lane, ...], Waiting]:
        """Pods that force nodes share them with the choosier ones that could go there: each class gets as many of them
        as is its part of the pods that wait."""
        invited: dict[tuple[Lane, ...], Waiting] = {}
        for number, (lanes, shapes) in enumerate(classes):
            hosts = [other for other, _ in classes[:number] if _covered(other, lanes)]
            forcing = [shape for shape in shapes if shape.caps.most is not None]
            if not hosts or not forcing:
                continue
            sizes = {host: sum(left[shape] for shape in choosy) for host, choosy in classes[:number] if host in hosts}
            whole = sum(sizes.values())
            for shape in forcing:
                done, given = 0, 0
                for host in hosts:
                    done += sizes[host]
                    share = left[shape] * done // whole - given
                    given += share
                    if share:
                        invited.setdefault(host, {})[shape] = share
        return invited

    def _classes(
        self, waiting: Mapping[Shape, int], tier: Iterable[str]
    ) -> Iterator[tuple[tuple[Lane, ...], list[Shape]]]:
        classes: dict[tuple[Lane, ...], list[Shape]] = {}
        for shape in waiting:
            lanes = tuple(lane for lane in self._lanes.of(shape) if lane.pool in tier)
            if lanes:
                classes.setdefault(lanes, []).append(shape)
        choice = {lanes: union(lane.rows for lane in lanes).bit_count() for lanes in classes}
        yield from sorted(classes.items(), key=lambda item: (choice[item[0]], item[1][0].index))


def _covered(lanes: Iterable[Lane], by: Sequence[Lane]) -> bool:
    return all(any(wider.covers(lane) for wider in by) for lane in lanes)
