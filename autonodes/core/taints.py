"""Taints and tolerations, by kube-scheduler's rules.

A toleration matches a taint if effect (empty: all), key (empty with ``Exists``: all) and value agree; ``Lt`` and ``Gt``
compare integers (KEP-5471). Only NoSchedule and NoExecute keep a pod away; PreferNoSchedule is a preference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from autonodes.core.labels import EPHEMERAL_TAINTS
from autonodes.core.model import Taint, Toleration

HARD_EFFECTS = frozenset({"NoSchedule", "NoExecute"})
SOFT_EFFECTS = frozenset({"PreferNoSchedule"})

_EPHEMERAL_PREFIXES = ("readiness.k8s.io/",)
"""Taints of the node readiness controller: each of its rules has a key of its own, and goes when the rule is met."""


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    match toleration.operator:
        case "Exists":
            return True
        case "" | "Equal":
            return bool(toleration.key) and toleration.value == taint.value
        case "Lt" | "Gt":
            return bool(toleration.key) and _compares(toleration, taint)
        case _:
            return False


def untolerated(
    taints: Iterable[Taint], tolerations: Iterable[Toleration], effects: Collection[str] = HARD_EFFECTS
) -> Taint | None:
    """The first taint that keeps the pod away."""
    listed = tuple(tolerations)
    for taint in taints:
        if taint.effect in effects and not any(tolerates(each, taint) for each in listed):
            return taint
    return None


def ephemeral(taint: Taint) -> bool:
    """A taint that a starting node carries for a while; it doesn't keep a pod from being planned onto it."""
    return taint.key in EPHEMERAL_TAINTS or taint.key.startswith(_EPHEMERAL_PREFIXES)


def lasting(taints: Iterable[Taint], startup_taints: Iterable[Taint]) -> tuple[Taint, ...]:
    """The taints that a node will still have when it is initialized."""
    leaving = {(taint.key, taint.effect) for taint in startup_taints}
    return tuple(taint for taint in taints if not ephemeral(taint) and (taint.key, taint.effect) not in leaving)


def format_taint(taint: Taint) -> str:
    """``key=value:effect``, or ``key:effect``."""
    return f"{taint.key}={taint.value}:{taint.effect}" if taint.value else f"{taint.key}:{taint.effect}"


def _compares(toleration: Toleration, taint: Taint) -> bool:
    try:
        wanted, present = int(toleration.value), int(taint.value)
    except ValueError:
        return False
    return present < wanted if toleration.operator == "Lt" else present > wanted
