"""Which rows of a pool can carry which labels.

For each pool and key the rows are grouped by what they have there, and there are few distinct values; so a selector
is answered by joining a handful of masks, however many rows there are. Answers are kept: a selector is asked for by
many pods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autonodes.core.bitsets import union
from autonodes.core.labels import WELL_KNOWN
from autonodes.core.requirements import Requirement, Requirements

MOST_ANSWERS: Final = 10_000
"""Answers that are kept before all are forgotten: an index may serve for a long time."""

MOST_VALUES: Final = 1_000
"""The same of what rows have at a key, which is asked for by purchases."""


class LabelIndex:
    """:param pools: of each pool the rows"""

    def __init__(self, pools: Mapping[str, int]) -> None:
        self._columns: dict[str, dict[str, _Column]] = {pool: {} for pool in pools}
        self._of_pool = dict(pools)
        self._satisfying: dict[tuple[str, Requirements], int] = {}
        self._values: dict[tuple[str, str, int], Requirement | None] = {}

    def add(self, pool: str, requirement: Requirement, rows: int) -> None:
        """Say what the nodes of these rows have at one key, the pool's own requirements included."""
        self._columns[pool].setdefault(requirement.key, _Column()).add(requirement, rows)

    def of_pool(self, pool: str) -> int:
        return self._of_pool.get(pool, 0)

    def satisfying(self, pool: str, asked: Requirements) -> int:
        """The rows of a pool whose nodes can carry labels that satisfy ``asked``."""
        mask = self._satisfying.get((pool, asked))
        if mask is None:
            mask = self.of_pool(pool)
            for key, requirement in asked.items():
                mask &= self._satisfying_key(pool, key, requirement)
            if len(self._satisfying) >= MOST_ANSWERS:
                self._satisfying.clear()
            self._satisfying[pool, asked] = mask
        return mask

    def undecided(self, pool: str, asked: Requirements) -> Requirements:
        """The part of ``asked`` that choosing a row does not settle: the claim must say it, and the pods that share a
        node must agree on it."""
        columns = self._columns.get(pool, {})
        return asked.only([key for key in asked if key not in columns or columns[key].open])

    def values(self, pool: str, key: str, mask: int) -> Requirement | None:
        """What the rows of a mask have at a key, taken together; None unless each has a single value there."""
        known = (pool, key, mask)
        if known in (values := self._values):
            return values[known]
        found = self._together(pool, key, mask)
        if len(values) >= MOST_VALUES:
            self._values = values = {}
        values[known] = found
        return found

    def _together(self, pool: str, key: str, mask: int) -> Requirement | None:
        column = self._columns.get(pool, {}).get(key)
        if column is None or mask & ~column.defined:
            return None
        present = [requirement.single for requirement, rows in column.masks.items() if rows & mask]
        found = [value for value in present if value is not None]
        return Requirement.of(key, "In", found) if found and len(found) == len(present) else None

    def distinct(self, pool: str, key: str, mask: int) -> int:
        """How many values the rows of a mask have at a key, taken together."""
        column = self._columns.get(pool, {}).get(key, _Column())
        return len(frozenset().union(*(each.values for each, rows in column.masks.items() if rows & mask)))

    def keys(self, pool: str) -> list[str]:
        """Those at which some row of the pool has something."""
        return sorted(self._columns.get(pool, {}))

    def offered(self, pool: str, key: str) -> Requirement | None:
        """All that the rows of the pool have at a key, for people to read; None if it is not a label of any."""
        column = self._columns.get(pool, {}).get(key)
        if column is None:
            return None
        present = sorted(column.masks, key=str)
        values = frozenset().union(*(each.values for each in present))
        return present[0] if any(each.complement for each in present) else Requirement(key, False, values)

    def _satisfying_key(self, pool: str, key: str, asked: Requirement) -> int:
        column = self._columns.get(pool, {}).get(key, _Column())
        undefined = self.of_pool(pool) & ~column.defined
        undefined_will_do = asked.absent or (key in WELL_KNOWN and not asked.empty)
        return column.overlapping(asked) | (undefined if undefined_will_do else 0)


class _Column:
    """What the rows of one pool have at one key."""

    __slots__ = ("defined", "masks")

    def __init__(self) -> None:
        self.masks: dict[Requirement, int] = {}
        self.defined = 0

    def add(self, requirement: Requirement, rows: int) -> None:
        self.masks[requirement] = self.masks.get(requirement, 0) | rows
        self.defined |= rows

    def overlapping(self, asked: Requirement) -> int:
        return union(mask for present, mask in self.masks.items() if present.overlaps(asked))

    @property
    def open(self) -> bool:
        return any(requirement.single is None for requirement in self.masks)
