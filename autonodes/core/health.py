"""Which broken nodes are to be replaced now.

A node is broken when one of its conditions has had a bad status for longer than its provider tolerates. Not all that
are broken are replaced at once: what looks like many broken machines is mostly one broken network. So of a pool at most
a fifth is being replaced at a time, one node where that is less than one, and of all nodes whose kubelet is silent
(status ``Unknown``) one at a time, whatever pool it is in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from autonodes.core.model import Node

SHARE: Final = 0.2
UNKNOWN: Final = "Unknown"

Tolerance = tuple[str, str, float]
"""Type and status of a condition, and the seconds that it may last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ailment:
    """:param since: when the condition took this status
    :param due: when it has lasted too long; both in seconds since the epoch
    """

    node: str
    pool: str
    condition: str
    status: str
    since: float
    due: float


def ailment(node: Node, pool: str, tolerances: Iterable[Tolerance]) -> Ailment | None:
    """What ails the node, tolerated or not; of several ailments the one that is due first."""
    found = [
        Ailment(node=node.name, pool=pool, condition=type_, status=status, since=each.since, due=each.since + seconds)
        for type_, status, seconds in tolerances
        for each in node.conditions
        if (each.type, each.status) == (type_, status)
    ]
    return min(found, key=lambda each: (each.due, each.condition), default=None)


def replaceable(
    ailments: Iterable[Ailment], now: float, *, sizes: Mapping[str, int], leaving: Mapping[str, int], unknown: int
) -> list[Ailment]:
    """Those whose nodes are to be replaced now, the longest overdue first.

    :param sizes: pool → its nodes, the broken ones included
    :param leaving: pool → its nodes that are being replaced already
    :param unknown: how many of those had a silent kubelet
    """
    left = {pool: max(1, int(SHARE * size)) - leaving.get(pool, 0) for pool, size in sizes.items()}
    taken: Counter[str] = Counter()
    chosen = []
    for each in sorted(ailments, key=lambda each: (each.due, each.node)):
        is_silent = each.status == UNKNOWN
        if each.due > now or taken[each.pool] >= left.get(each.pool, 0) or (is_silent and unknown):
            continue
        taken[each.pool] += 1
        unknown += is_silent
        chosen.append(each)
    return chosen
