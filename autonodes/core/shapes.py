"""Equal pods, grouped: whatever the planner does, it does once for a shape and not for each of its pods."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from autonodes.core.caps import UNLIMITED, Caps
from autonodes.core.labels import EXPENDABLE
from autonodes.core.model import HostPort, Pod, Toleration
from autonodes.core.requirements import Requirements
from autonodes.core.resources import Resources
from autonodes.core.selection import Groups
from autonodes.core.topology import NOWHERE_IN_PARTICULAR, Rules, Topology


@dataclass(eq=False)
class Shape:
    """Pods among which scheduling can't tell the difference.

    :param index: the position of its first pod among all shapes'; breaks ties
    :param size: shapes with the same requests have the same number
    :param caps: what it means for others on its node, and they for it
    :param preferred: node affinity that it would like, by weight
    :param topology: what it says about other domains than nodes, until that is decided
    :param pods: in the order in which they will be served
    """

    index: int
    size: int
    requests: Resources
    terms: tuple[Requirements, ...]
    tolerations: tuple[Toleration, ...]
    host_ports: tuple[HostPort, ...]
    priority: int
    expendable: bool
    caps: Caps = UNLIMITED
    preferred: tuple[tuple[int, Requirements], ...] = ()
    topology: Topology = NOWHERE_IN_PARTICULAR
    pods: list[Pod] = field(default_factory=list)

    def pinned(self, terms: tuple[Requirements, ...]) -> Shape:
        """The same with other terms and nothing left to decide, and without pods."""
        return Shape(
            index=self.index,
            size=self.size,
            requests=self.requests,
            terms=terms,
            tolerations=self.tolerations,
            host_ports=self.host_ports,
            priority=self.priority,
            expendable=self.expendable,
            caps=self.caps,
            preferred=self.preferred,
        )

    @cached_property
    def constraints(self) -> tuple[tuple[Requirements, ...], tuple[Toleration, ...]]:
        """What decides where it may go, apart from room and ports."""
        return (self.terms, self.tolerations)

    @cached_property
    def keys(self) -> frozenset[str]:
        """The labels that it asks for."""
        return frozenset(key for term in self.terms for key in term)

    @cached_property
    def devices(self) -> frozenset[str]:
        return frozenset(name for name in self.requests if "/" in name)


def is_expendable(pod: Pod) -> bool:
    """It waits for a node that others need: it neither buys nor holds one."""
    return pod.annotations.get(EXPENDABLE) == "true"


def is_planned(pod: Pod) -> bool:
    """Whether a pod waits for a node that could be bought: kube-scheduler has given up on it, it is neither gated nor
    on its way out, and it is free to run anywhere (a DaemonSet's or a static pod is not)."""
    return (
        pod.unschedulable
        and not pod.node_name
        and not pod.gated
        and pod.deleted_at is None
        and not pod.terminal
        and pod.owner_kind not in ("DaemonSet", "Node")
    )


def in_order(pods: Iterable[Pod]) -> list[Pod]:
    """The order in which pods are served: the most important first, then the oldest, then by name."""
    return sorted(pods, key=lambda pod: (-pod.priority, pod.created_at, pod.namespace, pod.name, pod.uid))


class _Numbering:
    """Equal parts get equal numbers. Pods of one owner mostly share their parts as objects, so identity is looked at
    first; the pods keep the objects alive, so an id stands for one object."""

    def __init__(self, canonical: Callable[[Any], Hashable] = lambda part: part) -> None:
        self._canonical = canonical
        self._by_id: dict[int, int] = {}
        self._by_value: dict[Hashable, int] = {}

    def __call__(self, part: object) -> int:
        number = self._by_id.get(id(part))
        if number is None:
            number = self._by_value.setdefault(self._canonical(part), len(self._by_value))
            self._by_id[id(part)] = number
        return number


def group(pods: Sequence[Pod], groups: Groups, *, respect: bool = True) -> list[Shape]:
    """The shapes of pods, in the order of their first pods.

    :param groups: complete, see `autonodes.core.topology.register`
    :param respect: whether preferences tell pods apart
    """
    requests = _Numbering(lambda part: frozenset(part.items()))
    terms, tolerations, ports = _Numbering(), _Numbering(), _Numbering()
    spread, near, apart, preferences = _Numbering(), _Numbering(), _Numbering(), _Numbering()
    rules = Rules(groups, respect=respect)
    shapes: dict[object, Shape] = {}
    for pod in pods:
        size = requests(pod.requests)
        key = (
            size,
            terms(pod.required_terms),
            tolerations(pod.tolerations),
            ports(pod.host_ports),
            pod.priority,
            is_expendable(pod),
            spread(pod.spread),
            near(pod.near),
            apart(pod.apart),
            preferences(pod.preferences) if respect else 0,
            groups.of(pod),
        )
        shape = shapes.get(key)
        if shape is None:
            shape = shapes[key] = _shape(len(shapes), size, pod, rules)
            if respect and pod.preferences is not None:
                shape.preferred = pod.preferences.nodes
        shape.pods.append(pod)
    return list(shapes.values())


def _shape(index: int, size: int, pod: Pod, rules: Rules) -> Shape:
    terms = tuple(dict.fromkeys(pod.required_terms)) or (Requirements(),)
    caps, topology = rules.of(pod)
    return Shape(
        index=index,
        size=size,
        requests={name: amount for name, amount in pod.requests.items() if amount > 0},
        terms=terms,
        tolerations=pod.tolerations,
        host_ports=pod.host_ports,
        priority=pod.priority,
        expendable=is_expendable(pod),
        caps=caps,
        topology=topology,
    )
