"""Sets of rows as integers: one bit a row. Python's integers do the set algebra at the speed of memory."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def lowest(mask: int) -> int:
    """The index of the lowest bit of a mask that is not empty."""
    return (mask & -mask).bit_length() - 1


def bits(mask: int) -> Iterator[int]:
    """The indices of the bits, lowest first."""
    while mask:
        yield lowest(mask)
        mask &= mask - 1


def union(masks: Iterable[int]) -> int:
    result = 0
    for mask in masks:
        result |= mask
    return result


def grouped(keys: Iterable[K]) -> dict[K, int]:
    """Key → the indices at which it stands. In time that is linear in their number, unlike one ``|=`` for each."""
    found: dict[K, list[int]] = defaultdict(list)
    count = 0
    for count, key in enumerate(keys, start=1):
        found[key].append(count - 1)
    return {key: _mask(indices, count) for key, indices in found.items()}


def _mask(indices: Iterable[int], count: int) -> int:
    """:param count: all of them are below it"""
    packed = bytearray(count // 8 + 1)
    for index in indices:
        packed[index >> 3] |= 1 << (index & 7)
    return int.from_bytes(packed, "little")


class Thresholds:
    """The rows that have at least an amount of something, for any amount, by bisection."""

    def __init__(self, amounts: Iterable[int]) -> None:
        having = grouped(amounts)
        self._amounts = sorted(having)
        self._masks = [0] * (len(self._amounts) + 1)
        for position in range(len(self._amounts) - 1, -1, -1):
            self._masks[position] = self._masks[position + 1] | having[self._amounts[position]]

    def at_least(self, amount: int) -> int:
        return self._masks[bisect_left(self._amounts, amount)]

    @property
    def greatest(self) -> int:
        return self._amounts[-1] if self._amounts else 0
