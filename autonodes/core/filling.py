"""Filling one node: which of the waiting pods go onto a machine of a given room, so that they are worth most.

This is a knapsack with a few dimensions and items that come in numbers. Two ways are tried, and the caller takes what
pays: in *proportion* to what waits (it leaves the same mixture behind, which suits large nodes and many pods), and by
*fit* alone, which looks for the pods whose demands lie in the direction of the room that is left (the dot product of
both, each relative to the machine). The first ends with the second, to use what is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import le, mul

Vector = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """Pods of one size.

    :param size: of one pod, a number a resource
    :param most: of them on one node; None if only room limits them
    :param first: it asks for a device, so it goes first onto a machine that has some
    """

    size: Vector
    worth: float
    most: int | None = None
    first: bool = False


def fillings(room: Vector, items: Sequence[Item], waiting: Sequence[int]) -> Iterator[list[int]]:
    """What could go onto the machine: how many pods of each item, for each way that is worth trying."""
    share = _share(room, items, waiting)
    in_proportion = [_at_most(item, int(share * count)) for item, count in zip(items, waiting, strict=True)]
    if any(in_proportion):
        yield by_fit(room, items, waiting, in_proportion)
    yield by_fit(room, items, waiting)


def by_fit(room: Vector, items: Sequence[Item], waiting: Sequence[int], counts: list[int] | None = None) -> list[int]:
    """How many pods of each item, one kind after another by the dot product.

    :param counts: what is on the node already; it is added to
    """
    counts = counts or [0] * len(items)
    left = _left(room, items, counts)
    available = [_at_most(item, count) for item, count in zip(items, waiting, strict=True)]
    for chosen in ([i for i, item in enumerate(items) if item.first], range(len(items))):
        _place_by_dot(room, left, items, available, counts, chosen)
    return counts


def _at_most(item: Item, count: int) -> int:
    return count if item.most is None else min(count, item.most)


def _share(room: Vector, items: Sequence[Item], waiting: Sequence[int]) -> float:
    """The share of all that waits that the room holds, at most 1."""
    share = 1.0
    for place, size in enumerate(room):
        demand = sum(item.size[place] * count for item, count in zip(items, waiting, strict=True))
        if demand > max(0, size):
            share = min(share, max(0, size) / demand)
    return share


def _left(room: Vector, items: Sequence[Item], counts: Sequence[int]) -> list[int]:
    left = list(room)
    for item, count in zip(items, counts, strict=True):
        if count:
            for place, size in enumerate(item.size):
                left[place] -= size * count
    return left


def _place_by_dot(
    room: Vector,
    left: list[int],
    items: Sequence[Item],
    waiting: Sequence[int],
    counts: list[int],
    among: Sequence[int],
) -> None:
    relative = [1.0 / (size * size) if size > 0 else 0.0 for size in room]
    candidates = [(items[i].size, i) for i in among if counts[i] < waiting[i]]
    while candidates := [each for each in candidates if all(map(le, each[0], left))]:
        weights = tuple(map(mul, relative, left))
        size, best = max(candidates, key=lambda each: sum(map(mul, weights, each[0])))
        fitting = min(rest // need for rest, need in zip(left, size, strict=True) if need)
        count = min(waiting[best] - counts[best], max(1, fitting // 4))
        counts[best] += count
        for place, need in enumerate(size):
            left[place] -= need * count
        if counts[best] == waiting[best]:
            candidates.remove((size, best))
