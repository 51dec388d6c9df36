"""Which devices meet which selectors, and how many of each sort there are: sets of devices as countable resources.

Devices that meet the same selectors are of one sort. A selector's set is the sorts that meet it. Where no two sets
overlap, each is a resource. Where they do (any GPU; a GPU with 80 GB), Hall's theorem says what must hold: devices can
be dealt out just if for every *union* of sets no more is asked for inside of it than there is. So each union of sets
that overlap is a resource, and a request counts in all that contain its set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Final

from autonodes.core.devices import Device

PREFIX: Final = "devices/"
"""Of the resources that are made up here; nobody else sees them but in the text of a reason."""

ANY: Final = f"{PREFIX}any"
"""All devices of a machine, whatever they are."""

MOST_UNIONS: Final = 64
"""Unions of overlapping sets; if there are more, requests that overlap others are refused."""

Selector = tuple[str, ...]
"""A device class and all CEL expressions that must hold, the class's own first."""

Sort = frozenset[Selector]
Set = frozenset[Sort]


class DeviceSets:
    """:param selectors: of all requests that are planned
    :param holders: the devices of each node and of each instance type
    """

    def __init__(self, selectors: Iterable[Selector], holders: Iterable[Sequence[Device]]) -> None:
        self._selectors = sorted(set(selectors))
        self._met: dict[tuple[Selector, object], bool | None] = {}
        sorts = {sort for devices in holders for sort in self._sorts(devices)}
        self._sets = {selector: frozenset(sort for sort in sorts if selector in sort) for selector in self._selectors}
        unions = _unions(self._sets.values())
        self._too_many = unions is None
        self._names = self._named(unions if unions is not None else _alone(self._sets.values()))

    def room(self, devices: Sequence[Device]) -> Mapping[str, int]:
        """What a machine with these devices has of each resource."""
        counts = self._sorts(devices)
        if not counts:
            return {}
        inside = {name: sum(counts[sort] for sort in union) for union, name in self._names.items()}
        return {ANY: sum(counts.values()), **{name: count for name, count in inside.items() if count}}

    def demand(self, wanted: Mapping[Selector, int]) -> Mapping[str, int]:
        """What so many devices for each selector ask of each resource."""
        total = Counter({ANY: sum(wanted.values())})
        for selector, count in wanted.items():
            for union, name in self._names.items():
                if self._sets[selector] <= union:
                    total[name] += count
        return total

    def fault(self, selector: Selector) -> str:
        """Why a selector can't be planned with, "" if it can."""
        mine = self._sets[selector]
        if not mine:
            return "no free device of a node and none that an instance type declares meets it"
        if self._too_many and any(mine & other and mine != other for other in self._sets.values()):
            return f"it overlaps so many other requests that there are more than {MOST_UNIONS} ways to combine them"
        return ""

    def _sorts(self, devices: Sequence[Device]) -> Counter[Sort]:
        """A selector that fails on one of them fails for their machine: kube-scheduler gives up there, too."""
        kinds = Counter(_kind(device) for device in devices if not device.unsupported)
        examples = {_kind(device): device for device in devices if not device.unsupported}
        sound = [
            selector
            for selector in self._selectors
            if all(self._meets(selector, kind, examples[kind]) is not None for kind in kinds)
        ]
        found: Counter[Sort] = Counter()
        for kind, count in kinds.items():
            found[frozenset(each for each in sound if self._meets(each, kind, examples[kind]))] += count
        return found

    def _meets(self, selector: Selector, kind: object, device: Device) -> bool | None:
        """None if that can't be evaluated."""
        from autonodes.core.deviceselector import matches  # not before it is needed: it takes 15 MB

        if (selector, kind) not in self._met:
            try:
                self._met[selector, kind] = all(matches(expression, device) for expression in selector[1:])
            except ValueError:
                self._met[selector, kind] = None
        return self._met[selector, kind]

    def _named(self, unions: Iterable[Set]) -> dict[Set, str]:
        """A name for people: the classes of the requests inside, and a number where that is not enough."""
        names: dict[Set, str] = {}
        for union in sorted(unions, key=_order):
            classes = sorted({selector[0] for selector, mine in self._sets.items() if mine and mine <= union})
            name = f"{PREFIX}{'+'.join(classes)}"
            same = sum(1 for other in names.values() if other.partition("#")[0] == name)
            names[union] = f"{name}#{same + 1}" if same else name
        return names


def _kind(device: Device) -> object:
    """Equal for devices that no selector can tell apart."""
    attributes = sorted(device.attributes.items(), key=lambda item: item[0])
    return (device.driver, tuple(attributes), tuple(sorted(device.capacity.items())))


def _unions(sets: Iterable[Set]) -> set[Set] | None:
    """The sets, closed under the union of those that overlap; None if they are too many."""
    found = _alone(sets)
    while True:
        more = {one | other for one, other in combinations(found, 2) if one & other} - found
        if not more:
            return found
        found |= more
        if len(found) > MOST_UNIONS:
            return None


def _alone(sets: Iterable[Set]) -> set[Set]:
    return {each for each in sets if each}


def _order(union: Set) -> tuple[int, list[list[Selector]]]:
    return len(union), sorted(sorted(sort) for sort in union)
