"""Where a pod may run, in terms of the catalogue: a lane is a pool, the rows of it that will do, and what the claim
must settle beside the choice of a row.

Pods differ in many ways that come to the same lanes; those are packed together.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from autonodes.core.bitsets import union
from autonodes.core.catalog import Catalog
from autonodes.core.hostports import first_conflict
from autonodes.core.model import HostPort, NodePool
from autonodes.core.requirements import Requirements
from autonodes.core.shapes import Shape
from autonodes.core.taints import HARD_EFFECTS, SOFT_EFFECTS, untolerated


@dataclass(frozen=True, slots=True)
class Lane:
    """:param open: requirements on labels that rows leave open; pods that share a node must agree on them
    :param rows: those whose labels will do, whether they can be bought or not
    """

    pool: str
    open: Requirements
    rows: int

    def covers(self, other: Lane) -> bool:
        """Whether a pod with this lane may go wherever the other leads."""
        return self.pool == other.pool and self.open in (Requirements(), other.open) and not other.rows & ~self.rows


class Lanes:
    """The lanes of shapes, each worked out once.

    :param effects: of the taints that pods must tolerate
    """

    def __init__(self, catalog: Catalog, pools: Iterable[NodePool], effects: Collection[str] = HARD_EFFECTS) -> None:
        self._catalog, self._effects = catalog, effects
        self._pools = sorted(pools, key=lambda pool: pool.name)
        self._found: dict[object, tuple[Lane, ...]] = {}
        self._port_free: dict[tuple[HostPort, ...], int] = {}
        self._prices: dict[object, float] = {}

    @cached_property
    def avoiding(self) -> Lanes:
        """Those without the pools that pods would rather avoid, for ``PreferNoSchedule`` taints that they don't
        tolerate; the same lanes if there are no such taints."""
        if not any(taint.effect in SOFT_EFFECTS for pool in self._pools for taint in pool.taints):
            return self
        return Lanes(self._catalog, self._pools, HARD_EFFECTS | SOFT_EFFECTS)

    def of(self, shape: Shape) -> tuple[Lane, ...]:
        """In the order of the pools' names; empty if no row will do."""
        key = (shape.constraints, shape.host_ports)
        if key not in self._found:
            self._found[key] = tuple(lane for pool in self._pools for lane in self._in_pool(pool, shape) if lane.rows)
        return self._found[key]

    def price(self, shape: Shape) -> float:
        """Dollars an hour of the cheapest row that can be bought for one of its pods; infinite if there is none."""
        key = (frozenset(shape.requests.items()), shape.constraints, shape.host_ports)
        if key not in self._prices:
            rows = self._catalog.with_room(shape.requests) & self._catalog.buyable
            masks = [mask for lane in self.of(shape) if (mask := lane.rows & rows)]
            self._prices[key] = min((self._catalog.cheapest(mask).price for mask in masks), default=math.inf)
        return self._prices[key]

    def _in_pool(self, pool: NodePool, shape: Shape) -> Iterable[Lane]:
        if untolerated(pool.taints, shape.tolerations, self._effects) is not None:
            return  # startup taints don't count: they are gone before a pod is let onto the node
        labels = self._catalog.labels
        free = self._without_daemon_ports(shape.host_ports)
        masks: dict[Requirements, int] = {}
        for term in shape.terms:
            undecided = labels.undecided(pool.name, term)
            masks[undecided] = masks.get(undecided, 0) | labels.satisfying(pool.name, term)
        for undecided, rows in masks.items():
            yield Lane(pool.name, undecided, rows & free)

    def _without_daemon_ports(self, host_ports: tuple[HostPort, ...]) -> int:
        if not host_ports:
            return self._catalog.every
        if host_ports not in self._port_free:
            self._port_free[host_ports] = union(
                1 << index
                for index, row in enumerate(self._catalog.rows)
                if first_conflict(host_ports, row.ports) is None
            )
        return self._port_free[host_ports]
