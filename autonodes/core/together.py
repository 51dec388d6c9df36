"""Pods that must share one node, planned as one pod that is as large as all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations, product
from typing import Final, TypeVar

from autonodes.core.hostports import first_conflict
from autonodes.core.model import Plan, Pod, PodUID
from autonodes.core.requirements import Requirements
from autonodes.core.resources import add

Value = TypeVar("Value")

MOST_TERMS: Final = 64
"""OR-ed terms of the whole; each pod's multiply."""

_THEIR_OWN: Final = frozenset(
    {
        *("uid", "name", "namespace", "labels", "annotations", "owner_kind", "owner_uid", "group"),
        *("resource_claims", "volumes"),
        *("requests", "required_terms", "host_ports", "priority", "nominated_node", "created_at", "fault"),
    }
)
"""In what pods that share a node may differ; taints and other pods must see them alike."""


@dataclass(frozen=True)
class Together:
    """:param pod: stands for all; its uid is the first one's"""

    pod: Pod
    members: tuple[Pod, ...]

    def split(self, plan: Plan) -> Plan:
        """The plan, with each of the pods where the one that stands for them is."""
        uid, uids = self.pod.uid, tuple(pod.uid for pod in self.members)
        return replace(
            plan,
            purchases=tuple(replace(each, pods=_split(each.pods, uid, uids)) for each in plan.purchases),
            placements=_spread(plan.placements, uid, uids),
            unplaced=_spread(plan.unplaced, uid, uids),
        )


def merge(pods: Sequence[Pod], what: str) -> Together:
    """One pod for several. What can't be one has a ``fault``.

    :param what: what requires it, for people
    """
    first = pods[0]
    terms = _all_of(pods)
    return Together(
        replace(
            first,
            requests=add(*(pod.requests for pod in pods)),
            required_terms=terms,
            host_ports=tuple(port for pod in pods for port in pod.host_ports),
            priority=max(pod.priority for pod in pods),
            fault=next((pod.fault for pod in pods if pod.fault), "") or _why_not(pods, terms, what),
        ),
        tuple(pods),
    )


def _why_not(pods: Sequence[Pod], terms: Sequence[Requirements], what: str) -> str:
    first = pods[0]
    for other in pods[1:]:
        differ = [name for name in _SAME if getattr(first, name) != getattr(other, name)]
        if differ:
            names = ", ".join(name.replace("_", " ") for name in differ)
            return f"{what} must share a node, but {first.key} and {other.key} differ in {names}: make them the same"
    for one, other in combinations([pod for pod in pods if pod.host_ports], 2):
        if first_conflict(one.host_ports, other.host_ports):
            return f"{what} must share a node, but {one.key} and {other.key} want the same host port"
    if not terms:
        return f"{what} must share a node, but the pods' node affinities have more than {MOST_TERMS} terms together"
    return ""


def _all_of(pods: Iterable[Pod]) -> tuple[Requirements, ...]:
    """Terms of which one holds just where one of each pod's holds; empty if they are too many."""
    terms: tuple[Requirements, ...] = (Requirements(),)
    for theirs in dict.fromkeys(pod.required_terms for pod in pods):
        terms = tuple(dict.fromkeys(one & other for one, other in product(terms, theirs or (Requirements(),))))
        if len(terms) > MOST_TERMS:
            return ()
    return terms


def _split(listed: tuple[PodUID, ...], uid: PodUID, uids: tuple[PodUID, ...]) -> tuple[PodUID, ...]:
    return tuple(new for old in listed for new in (uids if old == uid else (old,)))


def _spread(found: Mapping[PodUID, Value], uid: PodUID, uids: tuple[PodUID, ...]) -> Mapping[PodUID, Value]:
    return {new: value for old, value in found.items() for new in (uids if old == uid else (old,))}


_SAME: Final = tuple(each.name for each in fields(Pod) if each.name not in _THEIR_OWN)
