"""Deciding the domains of pods (zones, capacity types, any label of nodes) before they are placed or bought for.

Pods with spread constraints, affinity or anti-affinity, and those that others count, are taken one after another. Each
goes to a domain that its constraints allow, given where the pods before it went and what runs already; among those
domains first where nodes have room, then where it is cheapest, then where there are fewest. What it is *pinned* to then
stands in its node affinity, so that whatever is packed, placed or bought after that needs to know nothing of domains.

Every step leaves a state that is right, so the end is right, too: kube-scheduler accepts it in the order of the steps,
and with spread also in most others.

Preferences decide among domains, and among the machines of a domain, that cost nearly as much. They never cost a node:
what they say about single nodes is left to kube-scheduler.

Limits: what an expendable pod says about others pins those others, too, which may cost something; a pod without
constraints that a spread of others counts is pinned, too; a pinned pod stays where it is even if another zone turns out
to be better later; more than `MOST_CELLS` combinations of domains are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product
from typing import Final

from autonodes.core.catalog import Catalog
from autonodes.core.census import Census, universe
from autonodes.core.company import Company
from autonodes.core.counting import Counts
from autonodes.core.domainreasons import DomainReasons, Rule
from autonodes.core.lanes import Lanes
from autonodes.core.model import NodePool, Pod, PodUID, Reason
from autonodes.core.requirements import Requirement, Requirements
from autonodes.core.selection import Groups
from autonodes.core.shapes import Shape
from autonodes.core.standing import Targets
from autonodes.core.topology import SpreadRule, Topology

MOST_CELLS: Final = 256

NEARLY: Final = 1.05
"""By which factor what is preferred may be dearer; more than that no preference is worth."""


@dataclass(eq=False)
class Cell:
    """One combination of domains that a shape may go to.

    :param shape: the same pods, pinned
    :param price: dollars an hour of the cheapest machine that could be bought there; infinite if none
    :param room: pods that nodes and claims there could still take
    :param open: it is not said where; only for pods that are merely counted
    :param avoided: only nodes with ``PreferNoSchedule`` taints could be bought there
    """

    at: Mapping[str, str]
    shape: Shape
    price: float
    room: int
    open: bool = False
    avoided: bool = False


class Domains:
    """:param ceilings: pinned shape → how many of its pods have a place, as found out by trying
    :param even: groups of spreads that also those keep who are only counted, whatever it costs
    :ivar refused: pods for which there is no domain, and why
    :ivar full: pods for which there is one, but no place in it, and the pinned shape that they would have
    :ivar pinned: pinned shape → its pods
    :ivar spread: group of a spread → the least skew, and the domains that were thought of
    :ivar crowded: groups of spreads that pods which are only counted have made uneven
    :ivar unkept: groups of spreads that keep a pod from every domain
    """

    def __init__(
        self,
        catalog: Catalog,
        lanes: Lanes,
        pools: Sequence[NodePool],
        targets: Targets,
        groups: Groups,
        census: Census,
        *,
        preferred_lanes: Lanes,
        ceilings: Mapping[object, int],
        even: Collection[int] = (),
    ) -> None:
        self.pinned: dict[object, list[Pod]] = {}
        self.full: dict[PodUID, object] = {}
        self.spread: dict[int, tuple[int, frozenset[str]]] = {}
        self.crowded: set[int] = set()
        self.unkept: set[int] = set()
        self._ceilings, self._even = ceilings, even
        self._founded: dict[int, str] = {}
        self.refused: dict[PodUID, tuple[Reason, ...]] = {}
        self._catalog, self._lanes, self._targets = catalog, lanes, targets
        self._preferred_lanes = preferred_lanes
        self._pools = sorted(pool.name for pool in pools)
        self._counts = Counts(catalog, lanes, pools, targets, groups)
        self._groups, self._census = groups, census
        self._terms: dict[object, tuple[Requirements, ...]] = {}
        self._shapes: dict[object, Shape] = {}
        self._offered: dict[str, list[str]] = {}
        self._prices: dict[object, float] = {}
        self._holders: dict[int, int] = {}
        self._spans: dict[tuple[str, int], list[str]] = {}
        self._company = Company()
        self._why = DomainReasons(groups, census, self._options)

    def resolve(self, shapes: Iterable[Shape]) -> list[Shape]:
        """The shapes to be packed, in the order of their first pods."""
        listed = [self._preferring(shape) for shape in shapes]
        for shape in listed:
            for rule in () if shape.expendable else shape.topology.spread:
                self._holders[rule.group] = min(rule.max_skew, self._holders.get(rule.group, rule.max_skew))
        self._shapes = {}
        free = [shape for shape in listed if not shape.topology]
        self._company.expect(listed, free)
        waiting = _in_order([shape for shape in listed if shape.topology])
        while waiting:
            before = sum(len(shape.pods) for shape in waiting)
            waiting = [shape for shape in waiting if not self._resolve(shape)]
            if sum(len(shape.pods) for shape in waiting) == before:
                for shape in waiting:
                    self._refuse(shape)
                break
        return sorted((shape for shape in (*free, *self._shapes.values()) if shape.pods), key=lambda each: each.index)

    def _resolve(self, shape: Shape) -> bool:
        """Pin its pods as far as they can be; returns whether none is left, or it can't help to wait."""
        cells = self._cells(shape)
        self._note(shape, cells)
        left = list(shape.pods)
        for number, pod in enumerate(shape.pods):
            cell = self._choose(shape, cells)
            if cell is None:
                left = shape.pods[number:]
                break
            self._settle(shape.topology, cell)
            self._company.settle(shape, cell.at)
            cell.room -= 1
            self._pin(cell).pods.append(pod)
            self.pinned.setdefault(_alike(cell.shape), []).append(pod)
        else:
            left = []
        shape.pods = left
        return not left

    def _note(self, shape: Shape, cells: Sequence[Cell]) -> None:
        for rule in () if shape.expendable else shape.topology.spread:
            skew, known = self.spread.get(rule.group, (rule.max_skew, frozenset()))
            here = {*(cell.at[rule.key] for cell in cells), *self._census.domains(rule.group)}
            self.spread[rule.group] = min(skew, rule.max_skew), known | here

    def _settle(self, topology: Topology, cell: Cell) -> None:
        if topology.near and self._first_of_all(topology):
            self._founded.update((rule.group, cell.at[rule.key]) for rule in topology.near)
        self._census.settle(topology, cell.at, partial(self._counts.of, cell.shape), said=not cell.open)

    def _choose(self, shape: Shape, cells: Sequence[Cell]) -> Cell | None:
        best, least, crowded = None, None, False
        cheapest = min((cell.price for cell in cells), default=0.0)
        for cell in cells:
            if self._first_broken(shape.topology, cell.at, cells) is not None or self._full(cell):
                continue
            wishes = self._unmet(shape.topology, cell, cells) if shape.topology.wishes else (False, 0, 0)
            must, crowding = self._crowding(shape.topology, cell.at, cells)
            dear = cell.room <= 0 and cell.price > NEARLY * cheapest
            present = self._present(shape.topology, cell.at)
            alone = not self._company.there(shape, cell.at)
            to_buy = (cell.room <= 0, cell.room <= 0 and cell.avoided)
            rank = (cell.open, must, alone, *to_buy, dear, crowding, *wishes, cell.price, present)
            if least is None or rank < least:
                best, least, crowded = cell, rank, bool(must or crowding)
        if best is not None and crowded:
            self.crowded.update(shape.topology.counted)
        return best

    def _full(self, cell: Cell) -> bool:
        if not self._ceilings:
            return False
        key = _alike(cell.shape)
        return key in self._ceilings and len(self.pinned.get(key, ())) >= self._ceilings[key]

    def _first_broken(self, topology: Topology, at: Mapping[str, str], cells: Sequence[Cell]) -> Rule | int | None:
        """The first rule that keeps the pod out of the domains; a number if it is another pod's anti-affinity."""
        census = self._census
        for group in topology.counted:
            here = at.get(self._groups.groups[group].key)
            if (census.held[group] and here in census.held[group]) or self._founded.get(group, here) != here:
                return group
        for apart in topology.apart:
            if census.counts[apart.group].get(at.get(apart.key, ""), 0):
                return apart
        for near in topology.near:
            if not census.sure[near.group].get(at[near.key], 0) and not (near.own and self._first_of_all(topology)):
                return near
        for spread in topology.spread:
            count = census.counts[spread.group].get(at[spread.key], 0) + spread.own
            if count - self._fewest(spread, at[spread.key], cells) > spread.max_skew:
                return spread
        return None

    def _first_of_all(self, topology: Topology) -> bool:
        """No pod of any group that it must be near to is anywhere."""
        return not any(self._census.anywhere(rule.group) for rule in topology.near)

    def _fewest(self, rule: SpreadRule, here: str, cells: Sequence[Cell]) -> int:
        """In one domain; what may be here is surely here where it is compared with itself."""
        domains = self._span(rule.key, rule.group, cells)
        if len(domains) < rule.min_domains:
            return 0
        counts, sure = self._census.counts[rule.group].get(here, 0), self._census.sure[rule.group]
        return min(counts if domain == here else sure.get(domain, 0) for domain in domains)

    def _span(self, key: str, group: int, cells: Sequence[Cell]) -> list[str]:
        """The domains among which pods of a group are counted; the same as long as the cells are."""
        if (key, group) not in self._spans:
            possible = [cell.at[key] for cell in cells if key in cell.at]
            self._spans[key, group] = universe(possible, self._census.domains(group))
        return self._spans[key, group]

    def _crowding(self, topology: Topology, at: Mapping[str, str], cells: Sequence[Cell]) -> tuple[int, int]:
        """By how much the pod would break the spread of others, which nothing forbids: of those that must be kept all
        the same, and of the rest."""
        excess, must = 0, 0
        for group in topology.counted:
            skew, key = self._holders.get(group), self._groups.groups[group].key
            if skew is not None and key in at:
                domains = self._span(key, group, cells)
                counts = self._census.counts[group]
                fewest = min(self._census.sure[group].get(domain, 0) for domain in domains)
                more = max(0, counts.get(at[key], 0) + 1 - fewest - skew)
                excess, must = excess + more, must + (more if group in self._even else 0)
        return must, excess

    def _unmet(self, topology: Topology, cell: Cell, cells: Sequence[Cell]) -> tuple[bool, int, int]:
        """Whether it is dear, then the weight of the wishes that it leaves open, then the pods to keep away from."""
        dear = cell.price > NEARLY * min(each.price for each in cells)
        unmet = crowd = 0
        for wish in topology.wishes:
            count = self._census.counts[wish.group].get(cell.at.get(wish.key, ""), 0)
            if wish.weight == 0:
                crowd += count
            elif (count == 0) == (wish.weight > 0):
                unmet += abs(wish.weight)
        return dear, unmet, crowd

    def _preferring(self, shape: Shape) -> Shape:
        """With the preferred node affinity that costs nothing, the weightiest first, as if it were required."""
        for _, preferred in sorted(shape.preferred, key=lambda each: -each[0]):
            both = tuple(dict.fromkeys(term & preferred for term in shape.terms))
            terms = tuple(term for term in both if term.contradiction() is None)
            held, unheld = shape.pinned(terms), shape.pinned(shape.terms)
            cheap = terms and self._price(held) <= NEARLY * self._price(unheld) < math.inf
            if cheap and self._room(held, len(shape.pods)) >= self._room(unheld, len(shape.pods)):
                shape = replace(shape, terms=terms)
        return shape

    def _present(self, topology: Topology, at: Mapping[str, str]) -> int:
        groups = self._groups.groups
        return sum(self._census.counts[group].get(at.get(groups[group].key, ""), 0) for group in topology.counted)

    def _cells(self, shape: Shape) -> list[Cell]:
        """A pod that is only counted, or keeps others away, may also go where the label is missing: there is no domain
        there."""
        self._spans = {}
        asked = {rule.key for rule in shape.topology.rules}
        needed = {rule.key for rule in shape.topology.near} | {rule.key for rule in shape.topology.spread}
        wished = {wish.key for wish in shape.topology.wishes}
        keys = sorted(asked | wished | {self._groups.groups[group].key for group in shape.topology.counted})
        options = [[*self._options(key), *(() if key in needed else (None,))] for key in keys]
        combinations = islice(product(*options), MOST_CELLS)
        cells = (self._cell(shape, dict(zip(keys, values, strict=True))) for values in combinations)
        found = [self._countable(cell, shape) for cell in cells if cell is not None]
        kept_out = any(self._census.held[group] for group in shape.topology.counted)
        # one that is only counted may be where nobody can say, unless it is to stay away from somewhere
        anywhere = None if asked or kept_out else self._cell(shape, {})
        return [*found, replace(anywhere, open=True)] if anywhere is not None else found

    def _options(self, key: str) -> list[str]:
        """The values that nodes have or could have at a key."""
        if key not in self._offered:
            values = self._targets.values(key)
            for pool in self._pools:
                offered = self._catalog.labels.offered(pool, key)
                if offered is not None and offered.complement:  # the label gets some value, always the same one
                    values |= {value for value in (offered.any_value(),) if value is not None}
                elif offered is not None:
                    values |= offered.values
            self._offered[key] = sorted(values)
        return self._offered[key]

    def _cell(self, shape: Shape, wanted: Mapping[str, str | None]) -> Cell | None:
        terms = self._pin_terms(shape.terms, wanted)
        if not terms:
            return None
        pinned = shape.pinned(terms)
        price = self._price(pinned)
        room = self._room(pinned, len(shape.pods))
        at = {key: value for key, value in wanted.items() if value is not None}
        avoided = self._lanes is not self._preferred_lanes and not self._preferred_lanes.of(pinned)
        return Cell(at, pinned, price, room, avoided=avoided) if room or price < math.inf else None

    def _countable(self, cell: Cell, shape: Shape) -> Cell:
        """Among nodes on which its pods surely count for others, where that costs nothing."""
        for number in shape.topology.counted:
            counts, may = self._counts.of(cell.shape, number)
            filtering = self._groups.groups[number].nodes.terms
            if may and not counts and filtering:
                both = (term & wanted for term, wanted in product(cell.shape.terms, filtering))
                terms = tuple(dict.fromkeys(term for term in both if term.contradiction() is None))
                pinned = cell.shape.pinned(terms)
                price, room = self._price(pinned), self._room(pinned, len(shape.pods))
                if terms and price <= cell.price and room >= cell.room:
                    cell = replace(cell, shape=pinned, price=price, room=room)
        return cell

    def _pin_terms(self, terms: tuple[Requirements, ...], at: Mapping[str, str | None]) -> tuple[Requirements, ...]:
        key = (terms, tuple(at.items()))
        if key not in self._terms:
            here = Requirements(
                Requirement.of(name, "DoesNotExist") if value is None else Requirement.of(name, "In", [value])
                for name, value in at.items()
            )
            both = (term & here for term in terms)
            self._terms[key] = tuple(dict.fromkeys(term for term in both if term.contradiction() is None))
        return self._terms[key]

    def _price(self, pinned: Shape) -> float:
        key = (pinned.size, pinned.constraints, pinned.host_ports)
        if key not in self._prices:
            self._prices[key] = self._lanes.price(pinned)
        return self._prices[key]

    def _room(self, pinned: Shape, count: int) -> int:
        room = 0
        for target in self._targets.fitting(pinned) if count else ():
            room += target.room_for(pinned, count)
            if room >= count:
                break
        return min(room, count)

    def _pin(self, cell: Cell) -> Shape:
        """The shape that stands for all pods that are alike once they are pinned."""
        shape = cell.shape
        found = self._shapes.setdefault(_alike(shape), shape)
        found.index = min(found.index, shape.index)
        return found

    def _refuse(self, shape: Shape) -> None:
        cells = self._cells(shape)
        plain = shape.pinned(shape.terms)
        if not cells and self._price(plain) == math.inf and not self._room(plain, 1):  # it is not for want of a domain
            self._shapes.setdefault(_alike(plain), plain).pods.extend(shape.pods)
            return
        broken = [self._first_broken(shape.topology, cell.at, cells) for cell in cells]
        self.unkept.update(rule.group for rule in broken if isinstance(rule, SpreadRule))
        full = next((_alike(cell.shape) for cell, rule in zip(cells, broken, strict=True) if rule is None), None)
        if full is not None:
            self.full.update((pod.uid, full) for pod in shape.pods)
            return
        why = self._why.of(shape.topology, broken, self._founded)
        self.refused.update((pod.uid, (why,)) for pod in shape.pods)


def _alike(pinned: Shape) -> object:
    return (pinned.size, pinned.constraints, pinned.caps, pinned.priority, pinned.expendable)


def _in_order(shapes: Sequence[Shape]) -> list[Shape]:
    """Whoever keeps others out first; whoever is only counted before those that count; the expendable after all.

    Pods that may only be the first of their kind come after those of the kind that may be anywhere: once there is one,
    kube-scheduler lets no other be the first.
    """
    rooting = {group for shape in shapes for group in shape.topology.counted if group not in _needed(shape.topology)}

    def order(shape: Shape) -> tuple[bool, bool, bool, bool, int, int]:
        topology = shape.topology
        following = any(rule.own and rule.group in rooting for rule in topology.near)
        counting = bool(topology.spread or topology.near)
        return (shape.expendable, following, not topology.apart, counting, -shape.priority, shape.index)

    return sorted(shapes, key=order)


def _needed(topology: Topology) -> frozenset[int]:
    return frozenset(rule.group for rule in topology.near)
