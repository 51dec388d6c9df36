"""From sizes to pods: which pods of a kind go onto which of a number of equal nodes, so that caps are kept.

A *kind* is what packing sees: pods of one size. Among them there may be many shapes that differ in what they mean for
others on their node. A node is dealt one shape of each kind after another, as long as the tally lets it; those that
limit themselves come first, as they are the hardest to find a place for later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from autonodes.core.caps import Counter, Tally
from autonodes.core.resources import Resources
from autonodes.core.shapes import Shape


@dataclass(eq=False)
class Kind:
    """:param waiting: the pods of each shape
    :param apart: its pods count for the counter that was parted by, and that counter limits them
    :param free: none of its shapes has caps, so that any of its pods will do as well
    """

    requests: Resources
    devices: bool
    most: int | None
    apart: bool
    waiting: dict[Shape, int] = field(default_factory=dict)
    count: int = 0
    free: bool = True

    def add(self, shape: Shape, count: int) -> None:
        self.waiting[shape] = count
        self.count += count
        self.free = self.free and not shape.caps

    def take(self, tally: Tally, wanted: int) -> Iterator[tuple[Shape, int]]:
        """Up to so many pods that a node with this tally lets in, which they are added to."""
        for shape in list(self.waiting):
            count = min(wanted, self.waiting[shape])
            if shape.caps:
                count = tally.room_for(shape.caps, count)
            if count:
                tally.add(shape.caps, count)
                self._remove(shape, count)
                yield shape, count
                wanted -= count
                if not wanted:
                    return

    def _remove(self, shape: Shape, count: int) -> None:
        self.count -= count
        self.waiting[shape] -= count
        if not self.waiting[shape]:
            del self.waiting[shape]


def kinds(waiting: Mapping[Shape, int], apart: Counter) -> list[Kind]:
    """In the order of their first shapes.

    :param apart: a counter; pods that it limits among each other are kinds by themselves
    """
    found: dict[object, Kind] = {}
    listed = [(shape, count) for shape, count in waiting.items() if count]
    listed.sort(key=lambda each: (each[0].caps.most is None, each[0].index))
    for shape, count in listed:
        most = _own_limit(shape, apart)
        key = (shape.size, most)
        kind = found.get(key)
        if kind is None:
            kind = found[key] = Kind(shape.requests, bool(shape.devices), most, most is not None)
        kind.add(shape, count)
    return sorted(found.values(), key=lambda kind: min(shape.index for shape in kind.waiting))


def forcing(waiting: Mapping[Shape, int]) -> tuple[Counter, int]:
    """The counter that forces the most nodes, and how many; (None, 0) if there is none."""
    pods: dict[Counter, int] = defaultdict(int)
    least: dict[Counter, int] = {}
    for shape, count in waiting.items():
        if count:
            for counter, limit in shape.caps.limits:
                if counter in shape.caps.counts:
                    pods[counter] += count
                    least[counter] = min(limit, least.get(counter, limit))
    nodes = {counter: -(-count // max(1, least[counter])) for counter, count in pods.items()}
    return max(nodes.items(), key=lambda each: each[1], default=(None, 0))


def deal(counts: Mapping[Kind, int], copies: int) -> Iterator[tuple[dict[Shape, int], int]]:
    """The pods of each of a number of nodes, and how many nodes are equal; what is dealt is taken off the kinds."""
    if all(kind.free for kind in counts):
        yield from _deal_equal(counts, copies)
        return
    for _ in range(copies):
        tally = Tally()
        on_it: dict[Shape, int] = {}
        for kind, count in counts.items():
            for shape, number in kind.take(tally, count):
                on_it[shape] = number
        if not on_it:
            return
        yield on_it, 1


def _deal_equal(counts: Mapping[Kind, int], copies: int) -> Iterator[tuple[dict[Shape, int], int]]:
    """As many equal nodes at a time as the first shape of each kind allows."""
    while copies:
        first = {kind: next(iter(kind.waiting)) for kind in counts}
        equal = min(copies, *(kind.waiting[first[kind]] // count for kind, count in counts.items()))
        if equal:
            on_it = {first[kind]: count for kind, count in counts.items()}
        else:
            on_it = {shape: number for kind, count in counts.items() for shape, number in kind.take(Tally(), count)}
        for kind, count in counts.items():
            for _ in kind.take(Tally(), count * equal):
                pass
        yield on_it, max(1, equal)
        copies -= max(1, equal)


def _own_limit(shape: Shape, counter: Counter) -> int | None:
    if counter is None or counter not in shape.caps.counts:
        return None
    return next((limit for each, limit in shape.caps.limits if each == counter), None)
