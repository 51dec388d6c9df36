"""What stands, as one table: nodes and claims in flight, and what runs there.

Nothing in it depends on the pods that wait, so it serves all plans on one snapshot, and the next one if nothing has
changed. A set of places is an integer with one bit for each, as in the catalogue: "which have room", "which does a
selector allow", "where does a pod of this group run" are masks that are made once and joined by ``&``.

What would be if some nodes were not there is the same table *without* their bits: what they add to the counts is taken
away, and nothing is counted anew. So a plan costs what it touches, and not what there is.

Plans in several threads may share one: what is remembered is whole before it is put where another plan sees it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from autonodes.core.bitsets import Thresholds, bits, union
from autonodes.core.caps import Caps, Counter
from autonodes.core.catalog import build_catalog
from autonodes.core.labels import HOSTNAME
from autonodes.core.model import Pod, Snapshot
from autonodes.core.resources import Resources, add, subtract
from autonodes.core.selection import Group, Groups, NodeFilter
from autonodes.core.shapes import Shape
from autonodes.core.taints import SOFT_EFFECTS, untolerated
from autonodes.core.targets import Kind, Place, Target, find_places


@dataclass(eq=False, slots=True)
class Members:
    """The running pods of one group.

    :param at: place → how many of them count
    :param domains: domain → how many; empty where each node is one
    """

    at: dict[int, int] = field(default_factory=dict)
    domains: dict[str, int] = field(default_factory=dict)
    _above: dict[int, int] = field(default_factory=dict)

    def above(self, most: int) -> int:
        """The places with more of them."""
        if most not in self._above:
            self._above[most] = union(1 << index for index, count in self.at.items() if count > most)
        return self._above[most]


class Standing:
    """:param places: in the order in which they are filled
    :param namespaces: the labels of each
    """

    def __init__(self, places: Sequence[Place], namespaces: Mapping[str, Mapping[str, str]]) -> None:
        self.places, self.namespaces = places, namespaces
        self.usable = union(1 << index for index, place in enumerate(places) if place.usable)
        self.every = (1 << len(places)) - 1
        self._index = {place.name: index for index, place in enumerate(places)}
        self._room: dict[str, Thresholds] = {}
        self._looks: dict[tuple[str, ...], dict[Hashable, int]] = {}
        self._accepting: dict[object, int] = {}
        self._having: dict[str, dict[str, int]] = {}
        self._domains: dict[tuple[str, NodeFilter], dict[int, str]] = {}
        self._making: dict[tuple[str, NodeFilter], dict[str, int]] = {}
        self._members: dict[Group, Members] = {}

    def mask(self, names: Collection[str]) -> int:
        """The places of these names; names that are not there are passed over."""
        return union(1 << self._index[name] for name in names if name in self._index)

    def find(self, name: str) -> int | None:
        return self._index.get(name)

    def with_room(self, request: Resources) -> int:
        """The places where the request fits beside what runs there."""
        mask = self.usable
        for name, amount in request.items():
            if name not in self._room:
                self._room[name] = Thresholds(place.room.get(name, 0) for place in self.places)
            mask &= self._room[name].at_least(amount)
        return mask

    def accepting(self, shape: Shape) -> int:
        """The places whose labels and taints let the shape's pods in. It is asked once for all nodes that look alike to
        them."""
        key = shape.constraints
        if key not in self._accepting:
            looks = self._look(tuple(sorted(shape.keys))).values()
            self._accepting[key] = union(mask for mask in looks if self._first(mask).accepts(shape))
        return self._accepting[key]

    def _look(self, keys: tuple[str, ...]) -> Mapping[Hashable, int]:
        if keys not in self._looks:
            looks: dict[Hashable, int] = defaultdict(int)
            for index in bits(self.usable):
                looks[self.places[index].look(keys)] |= 1 << index
            self._looks[keys] = looks
        return self._looks[keys]

    def _first(self, mask: int) -> Place:
        return self.places[next(bits(mask))]

    def having(self, key: str) -> Mapping[str, int]:
        """What usable places have or may have at a label, and which they are."""
        if key not in self._having:
            found: dict[str, int] = defaultdict(int)
            for index in bits(self.usable):
                for value in self.places[index].values(key):
                    found[value] |= 1 << index
            self._having[key] = found
        return self._having[key]

    @cached_property
    def unlaunched(self) -> int:
        """The claims of which it is not decided yet what they become."""
        claims = ((index, place.claim) for index, place in enumerate(self.places))
        return union(1 << index for index, claim in claims if claim and not claim.launched and claim.deleted_at is None)

    @cached_property
    def avoidable(self) -> bool:
        """Whether pods may rather avoid some of the places."""
        return any(taint.effect in SOFT_EFFECTS for place in self.places for taint in place.taints)

    @cached_property
    def nodes(self) -> int:
        """The places that are not claims in flight."""
        return union(1 << index for index, place in enumerate(self.places) if place.node is not None)

    @cached_property
    def room(self) -> Resources:
        """Of all usable places together."""
        return add(*(place.room for place in self.places if place.usable))

    def domains(self, group: Group) -> Mapping[int, str]:
        """Node → its domain, of those on which pods count for the group."""
        key = (group.key, group.nodes)
        if key not in self._domains:
            found = ((index, _domain(place, group)) for index, place in enumerate(self.places))
            self._domains[key] = {index: value for index, value in found if value is not None}
        return self._domains[key]

    def making(self, group: Group) -> Mapping[str, int]:
        """The domains of the same nodes → the nodes that are in it."""
        key = (group.key, group.nodes)
        if key not in self._making:
            found: dict[str, int] = defaultdict(int)
            for index, domain in self.domains(group).items():
                found[domain] |= 1 << index
            self._making[key] = found
        return self._making[key]

    def members(self, groups: Groups) -> list[Members]:
        """Of each group, by its number."""
        missing = {number: Members() for number, group in enumerate(groups.groups) if group not in self._members}
        for pod, present in self._kinds if missing else ():
            for number in groups.of(pod):
                if number in missing:
                    self._count(missing[number], groups.groups[number], present)
        self._members.update((groups.groups[number], members) for number, members in missing.items())
        return [self._members[group] for group in groups.groups]

    def _count(self, members: Members, group: Group, present: Sequence[tuple[int, Kind]]) -> None:
        domains, at, by_domain = self.domains(group), members.at, members.domains
        larger = group.key != HOSTNAME
        for index, kind in present:
            count = kind.count(group)
            if count and index in domains:
                at[index] = at.get(index, 0) + count
                if larger:
                    domain = domains[index]
                    by_domain[domain] = by_domain.get(domain, 0) + count

    @cached_property
    def _kinds(self) -> Sequence[tuple[Pod, Sequence[tuple[int, Kind]]]]:
        """Running pods that selectors can tell apart: one of each, and where there are such."""
        found: dict[Hashable, tuple[Pod, list[tuple[int, Kind]]]] = {}
        for index, place in enumerate(self.places):
            for key, kind in place.kinds.items():
                if key not in found:
                    found[key] = kind.pod, []
                found[key][1].append((index, kind))
        return list(found.values())

    @cached_property
    def keepers(self) -> Mapping[Group, Mapping[str, int]]:
        """The groups that anti-affinity of running pods keeps out → domain → the places of those pods. Where each node
        is a domain, all are under ""."""
        found: dict[Group, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for index, place in enumerate(self.places):
            for group, _ in place.keepers:
                domain = "" if group.key == HOSTNAME else (place.labels or {}).get(group.key)
                if domain is not None:
                    found[group][domain] |= 1 << index
        return found

    def kept_out(self, gone: int = 0) -> list[Group]:
        """The groups that anti-affinity keeps out of some domain.

        :param gone: mask of the places that are thought away
        """
        return [group for group, domains in self.keepers.items() if any(where & ~gone for where in domains.values())]


def _domain(place: Place, group: Group) -> str | None:
    """The domain that a node is in; None if it has none or if pods on it don't count for the group."""
    if place.node is None or place.labels is None:
        return None
    terms, tolerations, keys = group.nodes
    if not keys <= place.labels.keys():
        return None
    if terms and not any(term.satisfied_by(place.labels) for term in terms):
        return None
    if tolerations is not None and untolerated(place.node.taints, tolerations) is not None:
        return None
    return place.name if group.key == HOSTNAME else place.labels.get(group.key)


def stand(snapshot: Snapshot) -> Standing:
    """The table of a snapshot. The last one is kept, for plans are made again and again of the same nodes."""
    places = find_places(snapshot, build_catalog(snapshot))
    for known in _LAST:
        if known.namespaces == snapshot.namespaces and known.places == places:
            return known
    made = Standing(places, snapshot.namespaces)
    _LAST[:] = [made]
    return made


_LAST: list[Standing] = []


class Targets:
    """The places in one plan. What is put on one is known to this plan alone, and only those are copied of which
    something is asked.

    :param groups: complete
    :param gone: mask of the places that are thought away
    """

    def __init__(self, standing: Standing, groups: Groups, gone: int) -> None:
        self.standing, self.gone = standing, gone
        self._groups, self._members = groups, standing.members(groups)
        self._usable = standing.usable & ~gone
        self._made: dict[int, Target] = {}

    def named(self, name: str) -> Target | None:
        index = self.standing.find(name)
        return None if index is None or not self._usable >> index & 1 else self._target(index)

    def fitting(self, shape: Shape, caps: Caps | None = None) -> Iterator[Target]:
        """Those that let the shape's pods in and had room for one, in the order in which they are filled.

        :param caps: instead of the shape's
        """
        if not self._usable:
            return
        mask = self._usable & self.standing.accepting(shape) & self.standing.with_room(shape.requests)
        for index in bits(self._within(shape.caps if caps is None else caps, mask)):
            yield self._target(index)

    def accepting(self, shape: Shape) -> int:
        """The places that let the shape's pods in, whether they have room or not."""
        return self._usable & self.standing.accepting(shape)

    def values(self, key: str) -> set[str]:
        """What the places have or may have at a label."""
        return {value for value, where in self.standing.having(key).items() if where & self._usable}

    @property
    def counters(self) -> frozenset[Counter]:
        """Those to which some pod that was put somewhere adds."""
        return frozenset(
            counter for target in self._made.values() for counter, count in target.tally.counts.items() if count
        )

    @property
    def room(self) -> Resources:
        """Of all together."""
        standing = self.standing
        missing = add(*(standing.places[index].room for index in bits(self.gone & standing.usable)))
        taken = add(*(subtract(target.place.room, target.room) for target in self._made.values()))
        return subtract(subtract(standing.room, missing), taken)

    def _within(self, caps: Caps, mask: int) -> int:
        """Without those where running pods leave no room for one with these caps."""
        groups, keepers = self._groups.groups, self.standing.keepers
        for counter, limit in caps.limits:
            if isinstance(counter, int):
                most = limit - (counter in caps.counts)
                mask &= ~self._members[counter].above(most)
        for counter in caps.counts if keepers else ():
            if isinstance(counter, int):
                mask &= ~keepers.get(groups[counter], {}).get("", 0)
        for counter in caps.needs:
            if isinstance(counter, int):
                mask &= self._members[counter].above(0) | union(1 << index for index in self._made)
        return mask

    def _target(self, index: int) -> Target:
        if index not in self._made:
            self._made[index] = self._copied(self.standing.places[index])
        return self._made[index]

    def _copied(self, place: Place) -> Target:
        """With what its pods mean for others on the node, in this plan's numbers."""
        tally, groups = place.ports.copy(), self._groups
        for kind in place.kinds.values() if groups.groups else ():
            for number in groups.of(kind.pod):
                if groups.groups[number].key == HOSTNAME:
                    tally.add(Caps(frozenset((number,))), kind.count(groups.groups[number]))
        for group, pod in place.keepers:
            if group.key == HOSTNAME:
                number = groups.number(group)
                tally.add(Caps(limits=((number, int(number in groups.of(pod))),)))
        return Target(place, tally)
