"""Headroom: pods that don't exist, for which room is kept all the same.

A CapacityBuffer asks for room for so many pods of a shape. The planner sees them as pods that wait, of the lowest
priority there is: it places them on what is free, buys for those that have no place, and a node that holds one is
wanted. kube-scheduler never sees them, so a real pod simply takes the room, and the next plan makes new room.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from autonodes.core.model import Pod, PodUID, Resources
from autonodes.core.resources import capacity_for

KIND: Final = "CapacityBuffer"
"""The kind of owner by which such a pod is known."""

PRIORITY: Final = -(2**31)
"""Below every pod's: user-defined priorities end at minus a billion or so, and this is the end of the type."""


def is_headroom(pod: Pod) -> bool:
    """Whether a pod only stands for room."""
    return pod.owner_kind == KIND


def buffer_size(
    requests: Resources, *, replicas: int | None, percentage: int | None, scale: int | None, limits: Resources
) -> int:
    """How many pods a buffer stands for: the greater of ``replicas`` and the percentage, within the limits; as many as
    the limits hold if it has neither.

    :param requests: of one pod
    :param percentage: of the pods of a workload, rounded up to at least one
    :param scale: how many pods that workload has; None if the buffer names none
    """
    wanted = [] if replicas is None else [replicas]
    if percentage and scale:
        wanted.append(max(1, math.ceil(scale * percentage / 100)))
    held = capacity_for({name: requests[name] for name in limits if name in requests}, limits)
    if not wanted and percentage is not None:
        wanted.append(0)
    if not wanted:
        return held or 0
    return max(wanted) if held is None else min(max(wanted), held)


def headroom(shape: Pod, namespace: str, name: str, uid: str, count: int) -> tuple[Pod, ...]:
    """The pods of one buffer, always the same ones.

    Their volumes don't count, for they would need claims that nobody makes.

    :param shape: a pod of its template
    """
    one = replace(
        shape,
        namespace=namespace,
        volumes=(),
        priority=PRIORITY,
        owner_kind=KIND,
        owner_uid=uid,
        node_name="",
        nominated_node="",
        phase="Pending",
        unschedulable=True,
        gated=False,
        created_at=0.0,
        started_at=None,
        deleted_at=None,
    )
    return tuple(
        replace(one, uid=PodUID(f"{uid}/{number}"), name=f"headroom-{name}-{number}") for number in range(count)
    )
