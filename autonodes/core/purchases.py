"""From bins to purchases: which machines will do for each node, and what its claim says.

A claim names instance types, zones and capacity types, and the provider may take any combination of them that is on
sale, now or when it gets there. So the candidates are cut until *every* combination would do: where pods allow "type A
in zone 1 or type B in zone 2", the claim can't name both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from autonodes.core.bins import Bin
from autonodes.core.bitsets import bits
from autonodes.core.catalog import Catalog
from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.limits import Ledger
from autonodes.core.model import PodUID, Purchase
from autonodes.core.requirements import Requirements
from autonodes.core.resources import Resources, add, greatest, subtract
from autonodes.core.shapes import Shape

MOST_TYPES: Final = 60
"""Instance types in a claim; Karpenter's number, which keeps the object and a cloud's fleet request small."""


class _Claimed(NamedTuple):
    requirements: Requirements
    requests: Resources
    candidates: tuple[tuple[str, str, str, float], ...]
    largest: Resources


class Purchases:
    """Writes purchases, and charges the ledger for candidates that are larger than what the plan counts on."""

    def __init__(self, catalog: Catalog, ledger: Ledger) -> None:
        self._catalog = catalog
        self._ledger = ledger

    def write(self, bins: Iterable[Bin]) -> tuple[Purchase, ...]:
        """One purchase a node, in the order of the pods that opened them; pods are dealt out in their shapes' order."""
        ordered = sorted(bins, key=lambda bin_: min(shape.index for shape in bin_.counts))
        queues: dict[Shape, Iterator[PodUID]] = {}
        for bin_ in ordered:
            for shape in bin_.counts:
                queues.setdefault(shape, iter([pod.uid for pod in shape.pods]))
        return tuple(purchase for bin_ in ordered for purchase in self._nodes(bin_, queues))

    def _nodes(self, bin_: Bin, queues: Mapping[Shape, Iterator[PodUID]]) -> Iterator[Purchase]:
        written: dict[int, _Claimed] = {}
        for _ in range(bin_.copies):
            allowed = self._ledger.instead_of(self._catalog.rows[bin_.row])
            if allowed not in written:
                written[allowed] = self._claimed(bin_, allowed)
            claimed = written[allowed]
            self._ledger.charge_the_largest(self._catalog.rows[bin_.row], claimed.largest)
            pods = tuple(next(queues[shape]) for shape, count in bin_.counts.items() for _ in range(count))
            yield Purchase(
                pool=bin_.pool,
                pods=pods,
                requirements=claimed.requirements,
                requests=claimed.requests,
                candidates=claimed.candidates,
            )

    def _claimed(self, bin_: Bin, allowed: int) -> _Claimed:
        holding = self._catalog.holding(bin_.load, bin_.rows & self._catalog.buyable & allowed)
        rows = self._closed(self._cheapest_types(holding), bin_)
        listed = list(self._catalog.select(rows))
        daemons = greatest(subtract(row.type.allocatable, row.room) for row in listed)
        return _Claimed(
            self._requirements(bin_, rows),
            add(bin_.load, daemons),
            tuple((row.type.name, row.offering.zone, row.offering.capacity_type, row.price) for row in listed),
            greatest(row.cost for row in listed),
        )

    def _cheapest_types(self, rows: int) -> int:
        kept, types = 0, set[str]()
        for index in bits(rows):
            name = self._catalog.rows[index].type.name
            if name in types or len(types) < MOST_TYPES:
                types.add(name)
                kept |= 1 << index
        return kept

    def _closed(self, rows: int, bin_: Bin) -> int:
        """As many of the rows, the cheapest first, as leave no combination of theirs that would not do."""
        if self._every_combination_will_do(rows, bin_):
            return rows
        kept = 0
        for index in bits(rows):
            if self._every_combination_will_do(kept | 1 << index, bin_):
                kept |= 1 << index
        return kept

    def _every_combination_will_do(self, rows: int, bin_: Bin) -> bool:
        combinations = self._catalog.labels.satisfying(bin_.pool, self._requirements(bin_, rows))
        return not combinations & ~(bin_.rows & self._catalog.with_room(bin_.load))

    def _requirements(self, bin_: Bin, rows: int) -> Requirements:
        """The pool's, and for every label that the rows decide or a pod asks for, what it may be."""
        pool = self._catalog.rows[bin_.row].pool
        asked = {key for shape in bin_.counts for term in shape.terms for key in term}
        decided = (
            self._catalog.labels.values(pool.name, key, rows)
            for key in sorted({INSTANCE_TYPE, ZONE, CAPACITY_TYPE, NODE_POOL} | asked)
        )
        said = Requirements(requirement for requirement in decided if requirement is not None)
        return pool.requirements.intersection(bin_.open, said)
