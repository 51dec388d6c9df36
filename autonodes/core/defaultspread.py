"""Topology spread of pods that have no constraints of their own: what the cluster's administrator says of all of them.

`DefaultSpread.applied` writes the constraints into the pods before they are planned. Whom a constraint counts follows
from what the pod belongs to, as in kube-scheduler (``helper.DefaultSelector``): the pods of its namespace that all
Services which select it select, too, and so does its controller, if that is a ReplicaSet, a StatefulSet or a
ReplicationController. A pod that belongs to none of them has no such constraints.

kube-scheduler's own defaults (``defaultingType: System``) are none of this: they are wishes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from autonodes.core.model import Pod, PodUID
from autonodes.core.podterms import PodSelector, Spread
from autonodes.core.requirements import Requirement, Requirements

OWNERS: Final = frozenset({"ReplicaSet", "StatefulSet", "ReplicationController"})
"""Kinds of controllers whose selectors count."""

_NO_POD: Final = PodSelector(None, frozenset())


@dataclass(frozen=True, slots=True)
class Selectors:
    """Whom the objects select that pods belong to.

    :param services: namespace → the selectors of its Services
    :param owners: UID of a ReplicaSet, StatefulSet or ReplicationController → its selector
    """

    services: Mapping[str, Sequence[Requirements]] = field(default_factory=dict)
    owners: Mapping[str, Requirements] = field(default_factory=dict)

    def of(self, pod: Pod) -> Requirements:
        """Whom a default constraint of the pod counts; empty if it belongs to nothing that selects pods."""
        services = [each for each in self.services.get(pod.namespace, ()) if each.satisfied_by(pod.labels)]
        owner = self.owners.get(pod.owner_uid) if pod.owner_kind in OWNERS else None
        return Requirements().intersection(*services, *((owner,) if owner is not None else ()))


def unselected(
    key: str,
    *,
    max_skew: int,
    min_domains: int = 1,
    hard: bool = True,
    honor_affinity: bool = True,
    honor_taints: bool = False,
) -> Spread:
    """A constraint of which it is not said yet whom it counts."""
    return Spread(key, _NO_POD, max_skew, min_domains, hard, honor_affinity, honor_taints)


def service_selector(labels: Mapping[str, str]) -> Requirements:
    """Of a Service or ReplicationController; without any labels it selects no pod, and stands for nothing."""
    return Requirements(Requirement.of(key, "In", [value]) for key, value in labels.items())


class DefaultSpread:
    """Remembers what it made of a pod, so that equal pods of two snapshots are one object.

    :param constraints: see `unselected`
    """

    def __init__(self, constraints: Sequence[Spread]) -> None:
        self._constraints = tuple(constraints)
        self._made: dict[PodUID, tuple[Pod, Pod]] = {}

    def applied(self, pods: Iterable[Pod], selectors: Selectors) -> tuple[Pod, ...]:
        """The pods, those that may be planned with the constraints that hold for them."""
        found: dict[tuple[str, int, str], tuple[Spread, ...]] = {}
        shared: dict[tuple[str, Requirements], tuple[Spread, ...]] = {}
        made: dict[PodUID, tuple[Pod, Pod]] = {}
        told: list[Pod] = []
        for pod in pods:
            if pod.spread or pod.owner_kind in _PLACED_BY_OTHERS:
                told.append(pod)
                continue
            key = (pod.namespace, id(pod.labels), pod.owner_uid)
            if key not in found:
                selector = selectors.of(pod)
                found[key] = shared.setdefault((pod.namespace, selector), self._selecting(pod.namespace, selector))
            made[pod.uid] = entry = self._told(pod, found[key])
            told.append(entry[1])
        self._made = made
        return tuple(told)

    def _selecting(self, namespace: str, selector: Requirements) -> tuple[Spread, ...]:
        if not selector:
            return ()
        counted = PodSelector(selector, frozenset((namespace,)))
        return tuple(replace(each, selector=counted) for each in self._constraints)

    def _told(self, pod: Pod, spread: tuple[Spread, ...]) -> tuple[Pod, Pod]:
        known = self._made.get(pod.uid)
        if known is not None and known[0] is pod and known[1].spread == spread:
            return known
        return pod, replace(pod, spread=spread) if spread else pod


_PLACED_BY_OTHERS: Final = frozenset({"DaemonSet", "Node"})
