"""What it costs the workloads when a node goes: Karpenter's measure, without a unit.

A pod counts 1, more if it is important (its priority) or dear to delete (the annotation
``controller.kubernetes.io/pod-deletion-cost``), at least 0 and at most 10; a node counts 1 by itself. A node that is
about to expire anyway costs less: the sum is multiplied by the share of its life that is left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

from autonodes.core.model import Pod

POD_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"

_LEAST: Final = 0.0
_MOST: Final = 10.0


def disruption_cost(pods: Iterable[Pod], *, age: float, expire_after: float | None) -> float:
    """Of a node.

    :param pods: those that would have to run elsewhere
    :param age: of the node, in seconds
    :param expire_after: its life, in seconds; None if it does not end
    """
    left = 1.0 if not expire_after else min(1.0, max(0.0, 1.0 - age / expire_after))
    return left * (1.0 + sum(map(pod_cost, pods)))


def pod_cost(pod: Pod) -> float:
    """Of one pod's eviction."""
    cost = 1.0 + pod.priority / 2**25
    with contextlib.suppress(ValueError):  # what is no number counts as nothing
        cost += int(pod.annotations.get(POD_DELETION_COST, "0")) / 2**27
    return min(_MOST, max(_LEAST, cost))
