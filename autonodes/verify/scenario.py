"""What a world is like before anything goes wrong: its pools, its workloads and what its users do, all from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

_CORES: Final = 64
"""Limit of a pool; more than twice what all workloads ask for, so that everything can be served while nodes are
replaced."""


@dataclass(frozen=True, slots=True)
class Workload:
    """:param cpu: millicores of a pod
    :param unavailable: of its PodDisruptionBudget; None for no budget
    :param pinned: whether its pods say ``karpenter.sh/do-not-disrupt``
    """

    name: str
    replicas: int
    cpu: int
    unavailable: int | None = None
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """:param at: seconds since the world began
    :param workload: to be scaled; "" for a change of the pool's template, which makes all its nodes drift
    """

    at: float
    workload: str
    replicas: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """:param pool: the NodePool's spec, without template
    :param template: further fields of its template's spec
    """

    workloads: tuple[Workload, ...]
    changes: tuple[Change, ...]
    cores: int
    pool: dict[str, Any]
    template: dict[str, Any]


def draw(source: random.Random, *, seconds: float) -> Scenario:
    """:param seconds: while users change something"""
    workloads = tuple(_workload(source, f"w{number}") for number in range(source.randint(1, 3)))
    names = [workload.name for workload in workloads]
    changes = [
        Change(round(source.uniform(30.0, seconds), 1), source.choice([*names, ""]), source.randint(0, 3))
        for _ in range(source.randint(2, 5))
    ]
    disruption = {
        "consolidateAfter": source.choice(["0s", "20s"]),
        "consolidationPolicy": source.choice(["WhenEmpty", "WhenEmptyOrUnderutilized"]),
        "budgets": [{"nodes": source.choice(["1", "50%", "100%"])}],
    }
    grace = source.choice([{}, {}, {"terminationGracePeriod": "120s"}])
    expiry = source.choice([{}, {}, {"expireAfter": "300s"}])
    return Scenario(
        workloads=workloads,
        changes=tuple(sorted(changes, key=lambda change: change.at)),
        cores=_CORES,
        pool={"disruption": disruption},
        template={**grace, **expiry},
    )


def _workload(source: random.Random, name: str) -> Workload:
    return Workload(
        name=name,
        replicas=source.randint(1, 3),
        cpu=source.choice([300, 900, 1500, 3000]),
        unavailable=source.choice([None, None, 1, 1, 0]),
        pinned=source.random() < 0.2,
    )
