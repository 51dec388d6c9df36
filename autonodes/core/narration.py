"""The decision log: what is done and what is left undone, for whom, why, and what the nodes cost before and after.

A pure function of a snapshot and what was decided on it: the live controller, a dry run and a replay of a recorded
snapshot write the same log, byte for byte. One line of JSON a decision:

``{"decision":"buy","who":[…],"what":{…},"why":"…","costBefore":0.1,"costAfter":0.2}``

============  ====================  =============================================  ================================
decision      who                   what                                           why
============  ====================  =============================================  ================================
``buy``       the node's pods       nodePool, instanceType, zone, capacityType,    what else would have done
                                    pricePerHour
``place``     pods                  node (or the claim in flight)                  there is room
``leave``     pods of one reason    reasons: pool, code and text of each           the same in one sentence
``keep``      a node                code                                           the first thing that keeps it
``delete``    a node                code                                           since when nothing runs on it
============  ====================  =============================================  ================================

Costs are dollars an hour of all nodes and claims whose price is known, as if the decisions were carried out in the
order of the log.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from autonodes.core.emptiness import Verdict
from autonodes.core.fleet import hourly_costs
from autonodes.core.model import Plan, PodUID, Purchase, Reason, Snapshot

BUY: Final = "buy"
PLACE: Final = "place"
LEAVE: Final = "leave"
KEEP: Final = "keep"
DELETE: Final = "delete"

_DIGITS: Final = 6
"""Of a price's fraction in the log."""


@dataclass(frozen=True, slots=True)
class Decision:
    """:param who: pods as ``namespace/name``, or the name of a node
    :param what: the outcome for machines
    :param why: for people
    :param cost_before: dollars an hour of all nodes
    """

    decision: str
    who: tuple[str, ...]
    what: Mapping[str, object]
    why: str
    cost_before: float
    cost_after: float

    def line(self) -> str:
        """As it stands in the log, without the end of the line."""
        fields = {
            "decision": self.decision,
            "who": self.who,
            "what": self.what,
            "why": self.why,
            "costBefore": round(self.cost_before, _DIGITS),
            "costAfter": round(self.cost_after, _DIGITS),
        }
        return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def narrate(snapshot: Snapshot, plan: Plan, verdicts: Iterable[Verdict] = ()) -> Iterator[Decision]:
    """:param verdicts: of `autonodes.core.emptiness` on the same snapshot"""
    costs = hourly_costs(snapshot)
    total = math.fsum(costs.values())
    names = {pod.uid: pod.key for pod in snapshot.pods}
    for purchase in plan.purchases:
        who = tuple(names[uid] for uid in purchase.pods)
        yield Decision(BUY, who, _bought(purchase), why_bought(purchase), total, total + purchase.price)
        total += purchase.price
    for target, pods in _by_target(plan.placements).items():
        who = tuple(names[uid] for uid in pods)
        yield Decision(PLACE, who, {"node": target}, "there is room for them", total, total)
    for reasons, pods in by_reasons(plan.unplaced).items():
        who = tuple(names[uid] for uid in pods)
        yield Decision(LEAVE, who, {"reasons": [_reason(each) for each in reasons]}, sentence(reasons), total, total)
    for verdict in verdicts:
        after = total - costs.get(verdict.node, 0.0) if verdict.removable else total
        kind = DELETE if verdict.removable else KEEP
        yield Decision(kind, (verdict.node,), {"code": verdict.code}, verdict.text, total, after)
        total = after


def runner_up(purchase: Purchase) -> tuple[str, str, str, float] | None:
    """The cheapest candidate of another type than the first: what would be bought if there were none of that."""
    first = purchase.candidates[0][0]
    return next((each for each in purchase.candidates if each[0] != first), None)


def why_bought(purchase: Purchase) -> str:
    """In a sentence: what else would have held the pods, and what it costs more."""
    types = len({name for name, *_ in purchase.candidates})
    second = runner_up(purchase)
    pods = f"{len(purchase.pods)} pod{'' if len(purchase.pods) == 1 else 's'}"
    if second is None:
        return f"the only type that holds its {pods}"
    name, zone, capacity_type, price = second
    more = price - purchase.price
    lost = "as cheap" if more < 10**-_DIGITS else f"${more:.4f}/h dearer"
    return f"the cheapest of {types} types that hold its {pods}; next is {name} ({zone}, {capacity_type}), {lost}"


def by_reasons(unplaced: Mapping[PodUID, tuple[Reason, ...]]) -> dict[tuple[Reason, ...], list[PodUID]]:
    """Pods that were left for the same reasons, in the order of the first of each."""
    groups: dict[tuple[Reason, ...], list[PodUID]] = defaultdict(list)
    for uid, reasons in unplaced.items():
        groups[reasons].append(uid)
    return groups


def sentence(reasons: Iterable[Reason]) -> str:
    """As a pod is told by its event."""
    return "; ".join(f"{reason.pool}: {reason.text}" if reason.pool else reason.text for reason in reasons)


def _bought(purchase: Purchase) -> dict[str, object]:
    name, zone, capacity_type, price = purchase.candidates[0]
    return {
        "nodePool": purchase.pool,
        "instanceType": name,
        "zone": zone,
        "capacityType": capacity_type,
        "pricePerHour": round(price, _DIGITS),
    }


def _by_target(placements: Mapping[PodUID, str]) -> dict[str, list[PodUID]]:
    targets: dict[str, list[PodUID]] = defaultdict(list)
    for uid, target in placements.items():
        targets[target].append(uid)
    return dict(sorted(targets.items()))


def _reason(reason: Reason) -> dict[str, str]:
    return {"nodePool": reason.pool, "code": reason.code, "text": reason.text}
