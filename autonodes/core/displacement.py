"""Pods that will need a place because their node is on its way out.

They count as pending at once, so that their new node is bought while the old one is still drained: a spot machine that
goes in two minutes leaves no time for one after the other. Only those that somebody makes anew count: a pod without an
owner is gone when it is evicted.
"""

from __future__ import annotations

from dataclasses import replace

from autonodes.core.labels import SURGE
from autonodes.core.model import Pod, Snapshot
from autonodes.core.simulation import moved, moves
from autonodes.core.targets import pair


def is_displaced(pod: Pod, now: float) -> bool:
    """Whether a pod on a node that is on its way out will be made anew and has no successor yet.

    Of one that asks for its successor first, that is a pod that waits by itself.
    """
    return bool(pod.owner_kind) and pod.annotations.get(SURGE) != "true" and moves(pod, now)


def with_displaced(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the pods of claims that are being deleted as pods that wait."""
    leaving = {node for node, claim in pair(snapshot).items() if claim.deleted_at is not None}
    if not leaving:
        return snapshot
    now = snapshot.now
    pods = tuple(moved(pod) if pod.node_name in leaving and is_displaced(pod, now) else pod for pod in snapshot.pods)
    return replace(snapshot, pods=pods)
