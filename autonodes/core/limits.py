"""Pool limits, counted with everything that costs money or soon may: nodes, claims in flight, claims that are leaving.

A claim that has not been launched counts with the largest machine that it may become.
"""

from __future__ import annotations

from collections.abc import Mapping

from autonodes.core.catalog import Catalog, Row
from autonodes.core.labels import NODE_POOL
from autonodes.core.model import Claim, Node, Snapshot
from autonodes.core.reservations import Reservations
from autonodes.core.resources import Resources, greatest
from autonodes.core.targets import claim_rows, pair

NODES = "nodes"


class Ledger:
    """What each limited pool may still buy.

    :param left: by pool; a pool without limits is not in it
    :ivar reservations: how many machines each reservation still takes
    """

    def __init__(self, left: Mapping[str, Resources], catalog: Catalog) -> None:
        self.left = {pool: dict(resources) for pool, resources in left.items()}
        self.reservations = Reservations(catalog)
        self._catalog = catalog

    def affordable(self) -> int:
        """The rows of which at least one more is within its pool's limits, and to be had."""
        mask = self._catalog.every & ~self.reservations.exhausted
        for pool, left in self.left.items():
            of_pool = self._catalog.labels.of_pool(pool)
            within = 0 if left.get(NODES, 1) < 1 else self._catalog.allowed_by(_capacities(left))
            mask &= within | ~of_pool
        return mask

    def copies(self, row: Row, wanted: int) -> int:
        """How many nodes, at most ``wanted``, the limits allow of a row."""
        wanted = self.reservations.copies(row, wanted)
        left = self.left.get(row.pool.name)
        if left is None:
            return wanted
        counts = [left[name] // amount for name, amount in _cost(row.type.capacity).items() if name in left]
        return max(0, min((wanted, *counts)))

    def buy(self, row: Row, copies: int) -> bool:
        """Count nodes that are to be bought; returns whether less is affordable now."""
        exhausted = self.reservations.take(row, copies)
        return self.charge(row.pool.name, row.type.capacity, copies) or exhausted

    def charge(self, pool: str, capacity: Resources, copies: int = 1) -> bool:
        """Count nodes; returns whether a limit has come closer."""
        left = self.left.get(pool)
        if left is None:
            return False
        for name, amount in _cost(capacity).items():
            if name in left:
                left[name] -= amount * copies
        return True

    def instead_of(self, planned: Row) -> int:
        """The rows that could be bought instead of one that has been charged, and still be within the limits."""
        allowed = self.reservations.instead_of(planned)
        left = self.left.get(planned.pool.name)
        if left is None:
            return allowed
        capacity = planned.type.capacity
        return allowed & self._catalog.allowed_by(
            {name: amount + capacity.get(name, 0) for name, amount in _capacities(left).items()}
        )

    def charge_the_largest(self, planned: Row, largest: Resources) -> None:
        """Whichever candidate it will be, the limits hold: the greatest capacity counts, not the planned one."""
        left = self.left.get(planned.pool.name)
        if left is not None:
            for name, amount in largest.items():
                if name in left:
                    left[name] -= max(0, amount - planned.type.capacity.get(name, 0))


def open_ledger(snapshot: Snapshot, catalog: Catalog) -> Ledger:
    """The limits of all pools, less what is there already."""
    ledger = Ledger({pool.name: pool.limits for pool in snapshot.pools if pool.limits}, catalog)
    claims = pair(snapshot)
    nodes = {claims[node.name].uid: node for node in snapshot.nodes if node.name in claims}
    for claim in snapshot.claims:
        ledger.charge(claim.pool, _claim_capacity(claim, nodes.get(claim.uid), catalog))
        if not claim.launched and claim.deleted_at is None:
            ledger.reservations.take_one_of(claim_rows(claim, catalog))
    for node in snapshot.nodes:
        if node.name not in claims and NODE_POOL in node.labels:
            ledger.charge(node.labels[NODE_POOL], node.capacity)
    return ledger


def _claim_capacity(claim: Claim, node: Node | None, catalog: Catalog) -> Resources:
    known = greatest((claim.capacity, node.capacity if node else {}))
    if known and (claim.launched or node):
        return known
    possible = [row.type.capacity for row in catalog.select(claim_rows(claim, catalog))]
    return greatest((known, *possible)) or claim.requests


def _cost(capacity: Resources) -> Resources:
    return {**{name: amount for name, amount in capacity.items() if amount > 0}, NODES: 1}


def _capacities(left: Resources) -> Resources:
    return {name: amount for name, amount in left.items() if name != NODES}
