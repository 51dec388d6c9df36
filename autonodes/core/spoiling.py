"""Nodes that turned out other than they were bought: what would be bought again and again.

A pod that waits is bought a node. If somebody else taints that node, cordons it, or takes away what the pod needs, the
pod still waits, and the next plan buys another one. So a node that is spoiled like this, and to which no pod of a
workload ever came, tells against its pool.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from autonodes.core.emptiness import holds
from autonodes.core.labels import DISRUPTED_TAINT, PRESERVING
from autonodes.core.model import Claim, Node, Pod, Taint
from autonodes.core.quantities import format_resource
from autonodes.core.taints import HARD_EFFECTS, ephemeral, format_taint

LEAST: Final = 3
"""Spoiled nodes of a pool that stop its purchases, if they are a tenth of it."""

SHARE: Final = 0.1

_CONDITIONS: Final = "node.kubernetes.io/"
"""Of the taints that say how a node is: they come and go, and repair looks after them."""


def spoiled(node: Node, claim: Claim, pods: Iterable[Pod], now: float) -> str:
    """What made an initialized node useless for what it was bought for, for people; "" if nothing did.

    :param pods: those on the node
    """
    if PRESERVING in node.annotations or any(holds(pod, now) for pod in pods):
        return ""
    if (taint := _foreign_taint(node, claim)) is not None:
        return f"taint {format_taint(taint)}"
    if node.unschedulable:
        return "it is cordoned"
    for name, amount in sorted(claim.requests.items()):
        left = node.allocatable.get(name)
        if left is not None and left < amount:
            asked, found = format_resource(name, amount), format_resource(name, left)
            return f"it has {name}={found} where {asked} was asked for"
    return ""


def _foreign_taint(node: Node, claim: Claim) -> Taint | None:
    """The first taint that keeps pods away and is neither the claim's nor part of a node's ordinary life."""
    known = {(taint.key, taint.effect) for taint in (*claim.taints, *claim.startup_taints)}
    for taint in node.taints:
        is_ordinary = ephemeral(taint) or taint.key == DISRUPTED_TAINT or taint.key.startswith(_CONDITIONS)
        if taint.effect in HARD_EFFECTS and not is_ordinary and (taint.key, taint.effect) not in known:
            return taint
    return None


def too_many(spoiled_nodes: int, size: int) -> bool:
    """Whether a pool should stop buying.

    :param size: how many nodes it has
    """
    return spoiled_nodes >= max(LEAST, SHARE * size)
