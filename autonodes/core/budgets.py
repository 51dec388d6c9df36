"""Disruption budgets: how many more nodes of a pool may be disrupted at this moment.

The smallest of the budgets that are active and concern the reason counts; a percentage is of the pool's initialized
nodes, rounded up. Nodes that are on their way out or not ready use the budget up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from autonodes.core.cron import Schedule
from autonodes.core.errors import ConfigError
from autonodes.core.labels import DISRUPTED_TAINT
from autonodes.core.model import Budget, Claim, Node, NodePool, Snapshot
from autonodes.core.targets import is_initialized, pair

EMPTY = "Empty"
UNDERUTILIZED = "Underutilized"
DRIFTED = "Drifted"


def allowances(snapshot: Snapshot, reason: str) -> dict[str, int]:
    """By pool: how many of its nodes may be disrupted now, beside those that are being disrupted already."""
    claims = pair(snapshot)
    of_pool: dict[str, list[tuple[Node, Claim]]] = defaultdict(list)
    for node in snapshot.nodes:
        claim = claims.get(node.name)
        if claim is not None and is_initialized(node, claim):
            of_pool[claim.pool].append((node, claim))
    return {
        pool.name: max(0, allowed(pool, len(of_pool[pool.name]), reason, snapshot.now) - _used(of_pool[pool.name]))
        for pool in snapshot.pools
    }


def allowed(pool: NodePool, nodes: int, reason: str, now: float) -> int:
    """How many of ``nodes`` may be disrupted at the same time; all of them if no budget says otherwise.

    :raises ConfigError: a budget that can't be read
    """
    active = (
        amount(budget, nodes)
        for budget in pool.budgets
        if (not budget.reasons or reason in budget.reasons) and is_active(budget, now)
    )
    return min((nodes, *active))


def amount(budget: Budget, nodes: int) -> int:
    text = budget.nodes
    digits = text.removesuffix("%")
    if not (digits.isascii() and digits.isdecimal()):
        raise ConfigError("spec.disruption.budgets[].nodes", text, 'write a number or a percentage, such as "10%"')
    return -(-int(digits) * nodes // 100) if text.endswith("%") else int(digits)


def is_active(budget: Budget, now: float) -> bool:
    """Without a schedule always; else for ``duration`` after each hit of the schedule."""
    if not budget.schedule or budget.duration is None:
        return True
    hit = Schedule.parse(budget.schedule, path="spec.disruption.budgets[].schedule").next_after(now - budget.duration)
    return hit is not None and hit <= now


def _used(nodes: Iterable[tuple[Node, Claim]]) -> int:
    return sum(1 for node, claim in nodes if not node.ready or _is_leaving(node, claim))


def _is_leaving(node: Node, claim: Claim) -> bool:
    tainted = any(taint.key == DISRUPTED_TAINT for taint in node.taints)
    return tainted or node.deleted_at is not None or claim.deleted_at is not None
