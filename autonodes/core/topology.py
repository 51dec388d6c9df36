"""A pod's terms about other pods, as rules about numbered groups, parted by what they are about.

What is about single nodes (the key is ``kubernetes.io/hostname``) becomes `Caps`, which hold wherever the pod goes.
What is about larger domains (zones, capacity types, any label of nodes) becomes a `Topology`, which `domains` resolves
before anything is placed.

A spread by hostname compares with 0: a node without any such pod can always be bought.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from autonodes.core.caps import Caps
from autonodes.core.labels import HOSTNAME
from autonodes.core.model import Pod
from autonodes.core.podterms import AllOf, PodTerm
from autonodes.core.selection import Group, Groups


@dataclass(frozen=True, slots=True)
class SpreadRule:
    """:param own: whether the pod itself is in the group"""

    group: int
    key: str
    max_skew: int
    min_domains: int
    own: bool


@dataclass(frozen=True, slots=True)
class NearRule:
    """:param own: whether the pod itself is in the group, so that the first one needs no other"""

    group: int
    key: str
    own: bool


@dataclass(frozen=True, slots=True)
class ApartRule:
    group: int
    key: str


@dataclass(frozen=True, slots=True)
class Wish:
    """A preference: to be with pods of the group, without them, or (weight 0) where there are the fewest."""

    group: int
    key: str
    weight: int


@dataclass(frozen=True, slots=True)
class Topology:
    """:param counted: the groups of larger domains than nodes that the pod is in
    :param wishes: what decides among domains that cost as much
    """

    spread: tuple[SpreadRule, ...] = ()
    near: tuple[NearRule, ...] = ()
    apart: tuple[ApartRule, ...] = ()
    counted: tuple[int, ...] = ()
    wishes: tuple[Wish, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.spread or self.near or self.apart or self.counted or self.wishes)

    @property
    def rules(self) -> tuple[SpreadRule | NearRule | ApartRule, ...]:
        return (*self.apart, *self.near, *self.spread)


NOWHERE_IN_PARTICULAR = Topology()


def group_of(term: PodTerm) -> Group:
    return Group(term.key, term.selector)


def near_groups(pod: Pod) -> list[Group]:
    """For each term of its pod affinity what must be there: a pod that *all* of the terms select, as in kube-scheduler
    (``podMatchesAllAffinityTerms``)."""
    selectors = tuple(dict.fromkeys(term.selector for term in pod.near))
    selector = AllOf(selectors) if len(selectors) > 1 else None
    return [Group(term.key, selector or term.selector) for term in pod.near]


def wishes(pod: Pod, groups: Groups) -> tuple[Wish, ...]:
    """Its preferences about larger domains than nodes; those about single nodes never cost or save one."""
    found = [
        Wish(groups.spread(pod, rule), rule.key, 0) for rule in pod.spread if not rule.hard and rule.key != HOSTNAME
    ]
    if pod.preferences is not None:
        listed = [(weight, term) for weight, term in pod.preferences.near]
        listed += [(-weight, term) for weight, term in pod.preferences.apart]
        found += [
            Wish(groups.number(group_of(term)), term.key, weight) for weight, term in listed if term.key != HOSTNAME
        ]
    return tuple(found)


def register(pods: Iterable[Pod], groups: Groups, *, respect: bool = True) -> None:
    """Number the groups of all that these pods require. The pods must live as long as ``groups``.

    :param respect: number what they wish, too
    """
    seen: set[tuple[int, int, int]] = set()
    for pod in pods:
        if respect and (pod.preferences is not None or pod.spread):
            wishes(pod, groups)
        if not (pod.spread or pod.near or pod.apart):
            continue
        parts = (id(pod.spread), id(pod.near), id(pod.apart))
        if parts in seen and not pod.spread:
            continue
        seen.add(parts)
        for rule in pod.spread:
            if rule.hard:
                groups.binding.add(groups.spread(pod, rule))
        for group in (*near_groups(pod), *map(group_of, pod.apart)):
            groups.binding.add(groups.number(group))


class Rules:
    """What pods require, in numbers; equal parts are one object."""

    def __init__(self, groups: Groups, *, respect: bool) -> None:
        self._groups, self._respect = groups, respect
        self._caps: dict[Hashable, Caps] = {}
        self._topologies: dict[Topology, Topology] = {}

    def of(self, pod: Pod) -> tuple[Caps, Topology]:
        groups, member = self._groups, self._groups.of(pod)
        spread = [
            SpreadRule(number, rule.key, rule.max_skew, rule.min_domains, number in member)
            for rule in pod.spread
            if rule.hard
            for number in (groups.spread(pod, rule),)
        ]
        near = [NearRule(number, key, number in member) for number, key in self._numbered(near_groups(pod))]
        apart = [ApartRule(number, key) for number, key in self._numbered(map(group_of, pod.apart))]
        here = frozenset(number for number in member if groups.groups[number].key == HOSTNAME)
        limits = [(rule.group, rule.max_skew) for rule in spread if rule.key == HOSTNAME]
        limits += [(rule.group, int(rule.group in member)) for rule in apart if rule.key == HOSTNAME]
        needs = frozenset(rule.group for rule in near if rule.key == HOSTNAME)
        wished = wishes(pod, groups) if self._respect else ()
        about = groups.binding | {wish.group for wish in wished}
        topology = Topology(
            tuple(rule for rule in spread if rule.key != HOSTNAME),
            tuple(rule for rule in near if rule.key != HOSTNAME),
            tuple(rule for rule in apart if rule.key != HOSTNAME),
            tuple(sorted((member - here) & about)),
            wished,
        )
        caps = self._shared_caps(here, tuple(limits), needs, pod)
        return caps, self._topologies.setdefault(topology, topology)

    def _numbered(self, listed: Iterable[Group]) -> list[tuple[int, str]]:
        return [(self._groups.number(group), group.key) for group in listed]

    def _shared_caps(
        self, counts: frozenset[int], limits: tuple[tuple[int, int], ...], needs: frozenset[int], pod: Pod
    ) -> Caps:
        key = (counts, limits, needs, pod.host_ports)
        if key not in self._caps:
            least: dict[int, int] = {}
            for group, limit in limits:
                least[group] = min(limit, least.get(group, limit))
            self._caps[key] = Caps(frozenset(counts), tuple(least.items()), frozenset(needs)).with_ports(pod.host_ports)
        return self._caps[key]
