"""Capacity that is paid for already: how many machines each reservation still takes, and who has them.

An offering of a reservation costs (next to) nothing, so the planner takes it first without being told to. What it must
be told is when to stop: a reservation takes so many machines and no more. A claim in flight that may become one of them
counts as one; machines that have been launched are in the provider's count already.

A purchase that counts on a reservation can be nothing else, and no other purchase may fall into it: or the provider,
which takes the cheapest that a claim allows, would give the reservation to the wrong one.
"""

from __future__ import annotations

from autonodes.core.bitsets import bits, lowest
from autonodes.core.catalog import Catalog, Row

Key = tuple[str, str, str, str]


class Reservations:
    """What is left of each."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._rows: dict[Key, int] = {}
        self._left: dict[Key, int] = {}
        self._counted = catalog.counted
        for index in bits(catalog.counted):
            row = catalog.rows[index]
            key, count = _key(row), row.offering.count or 0
            self._rows[key] = self._rows.get(key, 0) | 1 << index
            self._left[key] = min(count, self._left.get(key, count))

    @property
    def exhausted(self) -> int:
        """The rows of reservations that take no more."""
        mask = 0
        for key, left in self._left.items():
            if left <= 0:
                mask |= self._rows[key]
        return mask

    def copies(self, row: Row, wanted: int) -> int:
        """How many machines, at most ``wanted``, can be had of a row."""
        return wanted if row.offering.count is None else max(0, min(wanted, self._left[_key(row)]))

    def take(self, row: Row, copies: int) -> bool:
        """Count machines; returns whether a reservation takes no more now."""
        if row.offering.count is None:
            return False
        self._left[_key(row)] -= copies
        return self._left[_key(row)] <= 0

    def take_one_of(self, rows: int) -> None:
        """Count a machine that will be the cheapest of these rows, if that is reserved."""
        cheapest = rows & self._counted and 1 << lowest(rows)
        if not cheapest & self._counted:
            return
        for index in bits(rows & self._counted):
            row = self._catalog.rows[index]
            if self._left[_key(row)] > 0:
                self._left[_key(row)] -= 1
                return

    def instead_of(self, planned: Row) -> int:
        """The rows that a claim may name that was planned to be this one."""
        if planned.offering.count is None:
            return self._catalog.every & ~self._counted
        return self._rows[_key(planned)]


def _key(row: Row) -> Key:
    """One for all pools that sell it."""
    offering = row.offering
    if offering.reservation:
        return offering.reservation, "", "", ""
    return "", row.type.name, offering.zone, offering.capacity_type
