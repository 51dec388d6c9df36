"""Limits, counted with everything that costs money or soon may: nodes, claims in flight, claims that are leaving.

A pool has limits, and the cluster has some for all pools together: resources, the number of nodes, and money (see
`money`). A claim that has not been launched counts with the largest and dearest machine that it may become. A node of
which the offering is not known any more costs what its type's dearest one costs, and if its type is not known either,
what the dearest of its pool does: rather nothing is bought than more than allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from autonodes.core.bitsets import bits
from autonodes.core.catalog import Catalog, Row
from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.model import Claim, Node, Snapshot
from autonodes.core.money import COST, dollars, microdollars
from autonodes.core.quantities import format_resource
from autonodes.core.requirements import Requirement, Requirements
from autonodes.core.reservations import Reservations
from autonodes.core.resources import NODES, Resources, greatest
from autonodes.core.standing import Standing
from autonodes.core.targets import Place, claim_rows

CLUSTER = ""
"""Stands for all pools together, where a pool's name would stand."""


class Ledger:
    """What may still be bought.

    :param limits: by pool, and of `CLUSTER`; where there are none, there is no entry
    :ivar left: the same, less what has been charged
    :ivar reservations: how many machines each reservation still takes
    """

    def __init__(self, limits: Mapping[str, Resources], catalog: Catalog) -> None:
        self.limits = limits
        self.left = {pool: dict(resources) for pool, resources in limits.items()}
        self.reservations = Reservations(catalog)
        self._catalog = catalog

    def affordable(self) -> int:
        """The rows of which at least one more is within the limits, and to be had."""
        mask = self._catalog.every & ~self.reservations.exhausted
        for pool, left in self.left.items():
            of_pool = self._catalog.every if pool == CLUSTER else self._catalog.labels.of_pool(pool)
            mask &= self._catalog.allowed_by(left) | ~of_pool
        return mask

    def copies(self, row: Row, wanted: int) -> int:
        """How many nodes, at most ``wanted``, the limits allow of a row."""
        wanted = self.reservations.copies(row, wanted)
        for left in self._left(row.pool.name):
            counts = (left[name] // amount for name, amount in row.cost.items() if amount and name in left)
            wanted = min((wanted, *counts))
        return max(0, wanted)

    def buy(self, row: Row, copies: int) -> bool:
        """Count nodes that are to be bought; returns whether less is affordable now."""
        exhausted = self.reservations.take(row, copies)
        return self.charge(row.pool.name, row.cost, copies) or exhausted

    def charge(self, pool: str, cost: Resources, copies: int = 1) -> bool:
        """Count nodes; returns whether a limit has come closer."""
        closer = False
        for left in self._left(pool):
            closer = True
            for name, amount in cost.items():
                if name in left:
                    left[name] -= amount * copies
        return closer

    def instead_of(self, planned: Row) -> int:
        """The rows that could be bought instead of one that has been charged, and still be within the limits."""
        allowed = self.reservations.instead_of(planned)
        for left in self._left(planned.pool.name):
            allowed &= self._catalog.allowed_by(
                {name: amount + planned.cost.get(name, 0) for name, amount in left.items()}
            )
        return allowed

    def charge_the_largest(self, planned: Row, largest: Resources) -> None:
        """Whichever candidate it will be, the limits hold: the greatest cost counts, not the planned one."""
        for left in self._left(planned.pool.name):
            for name, amount in largest.items():
                if name in left:
                    left[name] -= max(0, amount - planned.cost.get(name, 0))

    def exceeded(self, row: Row) -> list[str]:
        """The limits that one more node of a row would exceed, for people to read."""
        return [
            f"{'cluster-wide ' if pool == CLUSTER else ''}{_shown(name, self.limits[pool][name], max(0, left[name]))}"
            for pool in (row.pool.name, CLUSTER)
            if (left := self.left.get(pool))
            for name in sorted(left)
            if left[name] < row.cost.get(name, 0)
        ]

    def _left(self, pool: str) -> Iterator[dict[str, int]]:
        return (self.left[each] for each in (pool, CLUSTER) if each in self.left)


def _shown(name: str, limit: int, left: int) -> str:
    if name == COST:
        return f"cost limit {dollars(limit)}/h, {dollars(left)}/h left"
    return f"{name} limit {format_resource(name, limit)}, {format_resource(name, left)} left"


class Charges:
    """The limits of all pools and of the cluster, and what of them is used already.

    What each place uses is found out once, for however many ledgers.
    """

    def __init__(self, snapshot: Snapshot, catalog: Catalog, standing: Standing) -> None:
        limits = {pool.name: pool.limits for pool in snapshot.pools if pool.limits}
        self._limits = limits | ({CLUSTER: snapshot.limits} if snapshot.limits else {})
        self._catalog, self._standing = catalog, standing

    def ledger(self, gone: int = 0) -> Ledger:
        """What may still be bought.

        :param gone: mask of the places that are thought away
        """
        ledger = Ledger(self._limits, self._catalog)
        ledger.left = {pool: dict(left) for pool, left in self._left.items()}
        for index in bits(gone) if ledger.limits else ():
            pool, cost = self._uses[index]
            if pool is not None:
                ledger.charge(pool, cost, -1)
        for index in bits(self._standing.unlaunched & ~gone):
            claim = self._standing.places[index].claim
            if claim is not None:
                ledger.reservations.take_one_of(claim_rows(claim, self._catalog))
        return ledger

    @cached_property
    def _uses(self) -> Sequence[tuple[str | None, Resources]]:
        """Of each place its pool and what it uses."""
        prices = _Prices(self._catalog, counted=any(COST in each for each in self._limits.values()))
        used = (_use(place, self._catalog, prices) for place in self._standing.places)
        return [(pool, _cost(capacity, price)) for pool, capacity, price in used]

    @cached_property
    def _left(self) -> Mapping[str, Resources]:
        """With nothing thought away."""
        ledger = Ledger(self._limits, self._catalog)
        for pool, cost in self._uses if self._limits else ():
            if pool is not None:
                ledger.charge(pool, cost)
        return ledger.left


def _use(place: Place, catalog: Catalog, prices: _Prices) -> tuple[str | None, Resources, int]:
    """The pool that a place belongs to, its capacity and its price."""
    node, claim = place.node, place.claim
    if claim is not None:
        return claim.pool, _claim_capacity(claim, node, catalog), prices.of_claim(claim, node)
    if node is not None and NODE_POOL in node.labels:
        pool = node.labels[NODE_POOL]
        return pool, node.capacity, prices.of_labels(pool, node.labels)
    return None, {}, 0


class _Prices:
    """What nodes that exist cost, in microdollars an hour.

    :param counted: whether any limit asks for it; all is 0 otherwise
    """

    def __init__(self, catalog: Catalog, *, counted: bool) -> None:
        self._catalog, self._counted = catalog, counted
        self._known: dict[tuple[str, int], int] = {}

    def of_claim(self, claim: Claim, node: Node | None) -> int:
        if not self._counted:
            return 0
        if claim.launched or node:
            return self.of_labels(claim.pool, {**claim.labels, **(node.labels if node else {})})
        possible = self._dearest(claim_rows(claim, self._catalog))
        return self.of_labels(claim.pool, claim.labels) if possible is None else possible

    def of_labels(self, pool: str, labels: Mapping[str, str]) -> int:
        """By as much as is known: the offering, else the type, else the pool, else anything on sale."""
        if not self._counted:
            return 0
        of_type = self._rows(pool, labels, (INSTANCE_TYPE,)) if INSTANCE_TYPE in labels else 0
        offered = self._rows(pool, labels, (INSTANCE_TYPE, ZONE, CAPACITY_TYPE)) if of_type else 0
        sets = (offered, of_type, self._catalog.labels.of_pool(pool), self._catalog.every)
        return next((cost for cost in map(self._dearest, sets) if cost is not None), 0)

    def _rows(self, pool: str, labels: Mapping[str, str], keys: tuple[str, ...]) -> int:
        asked = Requirements(Requirement.of(key, "In", [labels[key]]) for key in keys if key in labels)
        return self._catalog.labels.satisfying(pool, asked)

    def _dearest(self, rows: int) -> int | None:
        """Of those rows of which the price is known; rows are in the order of price."""
        while rows:
            index = rows.bit_length() - 1
            if self._catalog.rows[index].price < float("inf"):
                return microdollars(self._catalog.rows[index].price)
            rows ^= 1 << index
        return None


def _claim_capacity(claim: Claim, node: Node | None, catalog: Catalog) -> Resources:
    known = greatest((claim.capacity, node.capacity if node else {}))
    if known and (claim.launched or node):
        return known
    possible = [row.type.capacity for row in catalog.select(claim_rows(claim, catalog))]
    return greatest((known, *possible)) or claim.requests


def _cost(capacity: Resources, price: int) -> Resources:
    return {**capacity, NODES: 1, COST: price}
