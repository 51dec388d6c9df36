"""From bins to purchases: which machines will do for each node, and what its claim says.

A claim names instance types, zones and capacity types, and the provider may take any combination of them that is on
sale, now or when it gets there. So the candidates are cut until *every* combination would do: where pods allow "type A
in zone 1 or type B in zone 2", the claim can't name both.

What is left must still be as much of a choice as the pool's ``minValues`` ask for, so what adds to that is kept before
what is merely cheap. A node for which it is not enough is not bought.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Final, NamedTuple

from autonodes.core.bins import Bin
from autonodes.core.bitsets import bits, lowest, union
from autonodes.core.catalog import Catalog, least_values
from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.limits import Ledger
from autonodes.core.model import PodUID, Purchase
from autonodes.core.requirements import Requirement, Requirements
from autonodes.core.resources import Resources, add, greatest, subtract
from autonodes.core.shapes import Shape

MOST_TYPES: Final = 60
"""Instance types in a claim; Karpenter's number, which keeps the object and a cloud's fleet request small."""


class _Node(NamedTuple):
    """:param asked: the labels that its pods ask for
    :param suitable: the rows that will do, whether they can be bought or not
    """

    pool: str
    open: Requirements
    asked: frozenset[str]
    suitable: int


class _Choice(NamedTuple):
    """What claims say that leave the same rows to choose from."""

    requirements: Requirements
    candidates: tuple[tuple[str, str, str, float], ...]
    daemons: Resources
    largest: Resources
    relaxed: tuple[str, ...]


class Purchases:
    """Writes purchases, and charges the ledger for candidates that are larger than what the plan counts on.

    :ivar short: pods whose node would leave less of a choice than ``minValues`` ask for, with its pool
    """

    def __init__(self, catalog: Catalog, ledger: Ledger) -> None:
        self._catalog = catalog
        self._ledger = ledger
        self._choices: dict[object, _Choice | None] = {}
        self.short: dict[PodUID, str] = {}

    def write(self, bins: Iterable[Bin]) -> tuple[Purchase, ...]:
        """One purchase a node, in the order of the pods that opened them; pods are dealt out in their shapes' order."""
        ordered = sorted(bins, key=lambda bin_: min(shape.index for shape in bin_.counts))
        queues: dict[Shape, Iterator[PodUID]] = {}
        for bin_ in ordered:
            for shape in bin_.counts:
                queues.setdefault(shape, iter([pod.uid for pod in shape.pods]))
        return tuple(purchase for bin_ in ordered for purchase in self._nodes(bin_, queues))

    def _nodes(self, bin_: Bin, queues: Mapping[Shape, Iterator[PodUID]]) -> Iterator[Purchase]:
        planned = self._catalog.rows[bin_.row]
        asked = frozenset().union(*(shape.keys for shape in bin_.counts))
        for _ in range(bin_.copies):
            choice = self._choice(bin_, asked, self._ledger.instead_of(planned))
            pods = tuple(next(queues[shape]) for shape, count in bin_.counts.items() for _ in range(count))
            if choice is None:
                self.short.update(dict.fromkeys(pods, bin_.pool))
                continue
            self._ledger.charge_the_largest(planned, choice.largest)
            yield Purchase(
                pool=bin_.pool,
                pods=pods,
                requirements=choice.requirements,
                requests=add(bin_.load, choice.daemons),
                candidates=choice.candidates,
                relaxed=choice.relaxed,
            )

    def _choice(self, bin_: Bin, asked: frozenset[str], allowed: int) -> _Choice | None:
        """Nodes differ in their loads much more than in the machines that will do, so choices are kept."""
        suitable = bin_.rows & self._catalog.with_room(bin_.load)
        holding = self._catalog.holding(bin_.load, suitable & self._catalog.buyable & allowed)
        key = (bin_.pool, bin_.open, asked, suitable, holding)
        if key not in self._choices:
            self._choices[key] = self._made(_Node(bin_.pool, bin_.open, asked, suitable), holding)
        return self._choices[key]

    def _made(self, node: _Node, holding: int) -> _Choice | None:
        first = self._first(holding)
        rows = self._closed(self._first_types(holding, first), first, node)
        if not self._catalog.enough(node.pool, rows):
            return None
        listed = list(self._catalog.select(rows))
        return _Choice(
            self._requirements(node, rows),
            tuple((row.type.name, row.offering.zone, row.offering.capacity_type, row.price) for row in listed),
            greatest(subtract(row.type.allocatable, row.room) for row in listed),
            greatest(row.cost for row in listed),
            self._relaxed(rows),
        )

    def _relaxed(self, rows: int) -> tuple[str, ...]:
        pool, labels = self._catalog.cheapest(rows).pool, self._catalog.labels
        counted = ((key, labels.distinct(pool.name, key, rows), least) for key, least in least_values(pool).items())
        return tuple(f"{key}: {offered} of minValues {least}" for key, offered, least in counted if offered < least)

    def _first(self, rows: int) -> list[int]:
        """The cheapest first, but right after it those that ``minValues`` need."""
        pool, labels = self._catalog.cheapest(rows).pool, self._catalog.labels
        first = [lowest(rows)]  # what the plan counts on
        for key, least in least_values(pool).items():
            kept = labels.distinct(pool.name, key, union(1 << index for index in first))
            for index in bits(rows) if kept < least else ():
                more = labels.distinct(pool.name, key, union(1 << each for each in (*first, index)))
                if more > kept and kept < least:
                    first.append(index)
                    kept = more
        return first

    def _first_types(self, rows: int, first: Iterable[int]) -> int:
        """All are of one pool."""
        types: dict[str, None] = {}
        for index in chain(first, bits(rows)):
            types[self._catalog.rows[index].type.name] = None
            if len(types) == MOST_TYPES:
                named = Requirements([Requirement.of(INSTANCE_TYPE, "In", sorted(types))])
                return rows & self._catalog.labels.satisfying(self._catalog.rows[index].pool.name, named)
        return rows

    def _closed(self, rows: int, first: Iterable[int], node: _Node) -> int:
        """As many of the rows, the first ones and then the cheapest, as leave no combination that would not do."""
        if self._every_combination_will_do(rows, node):
            return rows
        kept = 0
        for index in chain(first, bits(rows)):
            if self._every_combination_will_do(kept | 1 << index, node):
                kept |= 1 << index
        return kept

    def _every_combination_will_do(self, rows: int, node: _Node) -> bool:
        return not self._catalog.labels.satisfying(node.pool, self._requirements(node, rows)) & ~node.suitable

    def _requirements(self, node: _Node, rows: int) -> Requirements:
        """The pool's, and for every label that the rows decide or a pod asks for, what it may be."""
        pool = self._catalog.cheapest(rows).pool
        decided = (
            self._catalog.labels.values(pool.name, key, rows)
            for key in sorted({INSTANCE_TYPE, ZONE, CAPACITY_TYPE, NODE_POOL} | node.asked)
        )
        said = Requirements(requirement for requirement in decided if requirement is not None)
        return self._relaxing(pool.requirements.intersection(node.open, said), pool.name, rows)

    def _relaxing(self, requirements: Requirements, pool: str, rows: int) -> Requirements:
        """With no more ``minValues`` than there are (policy ``BestEffort``; else there are enough)."""
        return Requirements(
            replace(each, min_values=min(each.min_values, self._catalog.labels.distinct(pool, each.key, rows)) or None)
            if each.min_values is not None
            else each
            for each in requirements.values()
        )
