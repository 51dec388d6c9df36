"""All that could be bought, as rows of one table: pool, instance type, offering.

The rows are in the order of price, and a set of rows is an integer with one bit a row. So "which offerings may this
pod use", "which are large enough", "which does the limit allow" are masks that are made once and joined by ``&``, and
the cheapest of what is left is the lowest bit. That is what makes the planner's time independent of the number of
types.

What can't be bought now (unavailable, or without a price) is in the table too, but not in `Catalog.buyable`: a claim
that was written earlier may still name it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from autonodes.core.bitsets import Thresholds, bits, grouped, lowest, union
from autonodes.core.daemons import overhead, ports, unnamed_terms
from autonodes.core.labelindex import LabelIndex
from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.model import DaemonSet, HostPort, InstanceType, NodePool, Offering, Snapshot
from autonodes.core.money import COST, microdollars
from autonodes.core.requirements import Requirement, Requirements
from autonodes.core.resources import NODES, Resources, subtract
from autonodes.core.taints import untolerated


@dataclass(frozen=True, slots=True)
class Row:
    """:param price: dollars an hour, infinite if it is not known
    :param room: allocatable less what the daemons take that run there
    :param ports: host ports of those daemons
    """

    pool: NodePool
    type: InstanceType
    offering: Offering
    price: float
    room: Resources
    ports: tuple[HostPort, ...]

    @property
    def buyable(self) -> bool:
        """Also not if its daemons alone are too much for it: some of them would wait for ever."""
        offering = self.offering
        on_sale = self.pool.ready and offering.available and offering.count != 0 and self.price < math.inf
        return on_sale and min(self.room.values(), default=0) >= 0

    @property
    def cost(self) -> Resources:
        """What a node of it uses up of limits: its capacity, itself, and money."""
        capacity = {name: amount for name, amount in self.type.capacity.items() if amount > 0}
        return {**capacity, NODES: 1, COST: microdollars(self.price)}

    @property
    def devices(self) -> frozenset[str]:
        """Extended resources (``nvidia.com/gpu``): what makes a machine dear, and is not for pods that don't ask."""
        return frozenset(name for name, amount in self.room.items() if amount and is_device(name))


def is_device(name: str) -> bool:
    """Whether a resource is hardware that only some machines have. Network interfaces are resources on EC2, too, but
    every machine has those."""
    return "/" in name and not name.startswith("vpc.amazonaws.com/")


class Catalog:
    """:param rows: in the order of price, then pool, type, zone and capacity type
    :param labels: the index of the same rows
    :param min_values: pool → label → how many values of it a claim must leave to choose from
    :ivar counted: the rows of which only so many machines can be had
    """

    def __init__(
        self, rows: Sequence[Row], labels: LabelIndex, min_values: Mapping[str, Mapping[str, int]] | None = None
    ) -> None:
        self.rows = rows
        self._min_values = min_values or {}
        self.labels = labels
        self.every = (1 << len(rows)) - 1
        self.buyable = grouped(row.buyable for row in rows).get(True, 0)
        self.counted = union(1 << index for index, row in enumerate(rows) if row.offering.count is not None)
        self._room: dict[str, Thresholds] = {}
        self._capacity: dict[str, Thresholds] = {}
        self._devices: dict[str, int] = {}
        for index, row in enumerate(rows):
            for name in row.devices:
                self._devices[name] = self._devices.get(name, 0) | 1 << index

    def with_room(self, request: Resources) -> int:
        """The rows on which the request fits."""
        mask = self.every
        for name, amount in request.items():
            if amount > 0:
                mask &= self.room(name).at_least(amount)
        return mask

    def enough(self, pool: str, rows: int) -> bool:
        """Whether so many rows leave as much of a choice as the pool's ``minValues`` ask for."""
        asked = self._min_values.get(pool)
        return not asked or all(self.labels.distinct(pool, key, rows) >= least for key, least in asked.items())

    def holding(self, load: Resources, among: int) -> int:
        """The rows that hold a load; those with devices that it does not ask for only if there are no others."""
        rows = self.with_room(load) & among
        plain = rows & self.without_devices(name for name, amount in load.items() if amount)
        return plain or rows

    def room(self, name: str) -> Thresholds:
        if name not in self._room:
            self._room[name] = Thresholds(row.room.get(name, 0) for row in self.rows)
        return self._room[name]

    def allowed_by(self, limit: Resources) -> int:
        """The rows of which a limit allows one."""
        mask = self.every
        for name, amount in limit.items():
            if name not in self._capacity:
                self._capacity[name] = Thresholds(row.cost.get(name, 0) for row in self.rows)
            mask &= ~self._capacity[name].at_least(max(0, amount) + 1)
        return mask

    def without_devices(self, requested: Iterable[str]) -> int:
        """The rows without extended resources that nobody requests."""
        wanted = set(requested)
        return self.every & ~union(mask for name, mask in self._devices.items() if name not in wanted)

    def select(self, mask: int) -> Iterator[Row]:
        """The rows of a mask, cheapest first."""
        return (self.rows[index] for index in bits(mask))

    def cheapest(self, mask: int) -> Row:
        """The first row of a mask that is not empty."""
        return self.rows[lowest(mask)]


def build_catalog(snapshot: Snapshot) -> Catalog:
    """Every offering of every pool of the snapshot, as far as the pool's requirements let it in.

    The last one is kept, for it takes longer to make than a small plan, and mostly nothing in it has changed.
    """
    made_of = (snapshot.pools, dict(snapshot.instance_types), snapshot.daemonsets, snapshot.min_values_policy)
    for known, catalog in _LAST:
        if known == made_of:
            return catalog
    catalog = _build(snapshot)
    _LAST[:] = [(made_of, catalog)]
    return catalog


_LAST: list[tuple[object, Catalog]] = []


def _build(snapshot: Snapshot) -> Catalog:
    entries = sorted(
        (entry for pool in snapshot.pools for entry in _entries(pool, snapshot.instance_types.get(pool.name, ()))),
        key=lambda entry: entry.order,
    )
    labels = _index(entries)
    strict = snapshot.min_values_policy == "Strict"
    min_values = {pool.name: asked for pool in snapshot.pools if strict and (asked := least_values(pool))}
    return Catalog(_rows(entries, labels, snapshot.daemonsets), labels, min_values)


def least_values(pool: NodePool) -> dict[str, int]:
    """``minValues`` of a pool's requirements, by label."""
    return {each.key: each.min_values for each in pool.requirements.values() if each.min_values is not None}


@dataclass(frozen=True, slots=True)
class _Entry:
    """:param labels: of the type in the pool, without the offering's"""

    pool: NodePool
    type: InstanceType
    offering: Offering
    price: float
    labels: Mapping[str, Requirement]

    @property
    def order(self) -> tuple[float, str, str, str, str]:
        return (self.price, self.pool.name, self.type.name, self.offering.zone, self.offering.capacity_type)


def _entries(pool: NodePool, types: Iterable[InstanceType]) -> Iterator[_Entry]:
    wanted = pool.requirements & Requirements([Requirement.of(NODE_POOL, "In", [pool.name])])
    for instance_type in types:
        named = Requirements([Requirement.of(INSTANCE_TYPE, "In", [instance_type.name])])
        labels = wanted.intersection(instance_type.requirements, named)
        if labels.contradiction() is not None:
            continue
        of_type = dict(labels.without((ZONE, CAPACITY_TYPE)))
        zones, capacity_types = labels.allowed(ZONE), labels.allowed(CAPACITY_TYPE)
        for offering in instance_type.offerings:
            if zones.has(offering.zone) and capacity_types.has(offering.capacity_type):
                price = math.inf if offering.price is None else offering.price
                yield _Entry(pool, instance_type, offering, price, of_type)


def _index(entries: Sequence[_Entry]) -> LabelIndex:
    types: dict[tuple[str, int], int] = defaultdict(int)
    for index, entry in enumerate(entries):
        types[entry.pool.name, id(entry.labels)] |= 1 << index
    offered = grouped((entry.pool.name, ZONE, entry.offering.zone) for entry in entries)
    offered |= grouped((entry.pool.name, CAPACITY_TYPE, entry.offering.capacity_type) for entry in entries)
    labels = LabelIndex(grouped(entry.pool.name for entry in entries))
    shared = {id(entry.labels): entry.labels for entry in entries}
    for (pool, name), rows in types.items():
        for requirement in shared[name].values():
            labels.add(pool, requirement, rows)
    for (pool, key, value), rows in offered.items():
        if value:
            labels.add(pool, Requirement(key, False, frozenset((value,))), rows)
    return labels


def _rows(entries: Sequence[_Entry], labels: LabelIndex, daemonsets: Sequence[DaemonSet]) -> tuple[Row, ...]:
    present = [_running(daemon, entries, labels) for daemon in daemonsets]
    rooms: dict[tuple[int, int], tuple[Resources, tuple[HostPort, ...]]] = {}
    rows = []
    for index, entry in enumerate(entries):
        running = union(1 << place for place, mask in enumerate(present) if mask >> index & 1)
        room = rooms.get((id(entry.type), running))
        if room is None:
            here = [daemonsets[place] for place in bits(running)]
            room = subtract(entry.type.allocatable, overhead(here)), ports(here)
            rooms[id(entry.type), running] = room
        rows.append(Row(entry.pool, entry.type, entry.offering, entry.price, *room))
    return tuple(rows)


def _running(daemon: DaemonSet, entries: Sequence[_Entry], labels: LabelIndex) -> int:
    """The rows on whose nodes the DaemonSet may put a pod."""
    mask = 0
    for pool in {entry.pool.name: entry.pool for entry in entries}.values():
        if untolerated(pool.taints, daemon.pod.tolerations) is not None:
            continue
        terms = unnamed_terms(daemon.pod) or (Requirements(),)
        mask |= union(labels.satisfying(pool.name, term) for term in terms)
    return mask
