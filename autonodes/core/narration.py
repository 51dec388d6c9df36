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
``delete``    nodes                 code                                           what makes it right
``replace``   nodes                 code, by: as for ``buy``                       what it saves
============  ====================  =============================================  ================================

The controller adds what no plan knows before (see `autonodes.controllers.decisionlog`): ``launch``, ``refuse``, and
``delete`` for other reasons.

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

from autonodes.core import disruption
from autonodes.core.budgets import DRIFTED, EMPTY
from autonodes.core.emptiness import DELETING
from autonodes.core.fleet import hourly_costs
from autonodes.core.model import Plan, PodUID, Purchase, Reason, Snapshot

BUY: Final = "buy"
PLACE: Final = "place"
LEAVE: Final = "leave"
KEEP: Final = "keep"
DELETE: Final = "delete"
REPLACE: Final = "replace"
LAUNCH: Final = "launch"
REFUSE: Final = "refuse"

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


def narrate(snapshot: Snapshot, plan: Plan, disruption: disruption.Decision | None = None) -> Iterator[Decision]:
    """:param disruption: what was decided about the nodes on the same snapshot"""
    total = math.fsum(hourly_costs(snapshot).values())
    for decision in (*buys(snapshot, plan.purchases, total), *told(snapshot, plan, total)):
        yield decision
        total = decision.cost_after
    if disruption is not None:
        yield from disrupted(snapshot, disruption, total)


def buys(snapshot: Snapshot, purchases: Iterable[Purchase], total: float) -> Iterator[Decision]:
    """One for each purchase, in their order.

    :param total: dollars an hour of all nodes before the first
    """
    names = {pod.uid: pod.key for pod in snapshot.pods}
    for purchase in purchases:
        who = tuple(names[uid] for uid in purchase.pods)
        yield Decision(BUY, who, _bought(purchase), why_bought(purchase), total, total + purchase.price)
        total += purchase.price


def told(snapshot: Snapshot, plan: Plan, total: float) -> Iterator[Decision]:
    """What becomes of the pods that nothing is bought for."""
    names = {pod.uid: pod.key for pod in snapshot.pods}
    for target, pods in _by_target(plan.placements).items():
        who = tuple(names[uid] for uid in pods)
        yield Decision(PLACE, who, {"node": target}, "there is room for them", total, total)
    for reasons, pods in by_reasons(plan.unplaced).items():
        who = tuple(names[uid] for uid in pods)
        yield Decision(LEAVE, who, {"reasons": [_reason(each) for each in reasons]}, sentence(reasons), total, total)


def disrupted(snapshot: Snapshot, decision: disruption.Decision, total: float) -> Iterator[Decision]:
    """What becomes of the nodes: first the commands, then what is kept."""
    for made in commanded(snapshot, decision, total):
        yield made
        total = made.cost_after
    yield from kept(decision, total)


def commanded(snapshot: Snapshot, decision: disruption.Decision, total: float) -> Iterator[Decision]:
    """One for each command."""
    empty = {each.node: each.text for each in decision.verdicts if each.removable}
    for command in decision.commands:
        after = total - command.saved
        what: dict[str, object] = {"code": command.reason}
        if command.replacements:
            what["by"] = [_bought(purchase) for purchase in command.replacements]
        kind = REPLACE if command.replacements else DELETE
        yield Decision(kind, command.candidates, what, _why_disrupted(command, empty), total, after)
        total = after


def kept(decision: disruption.Decision, total: float) -> Iterator[Decision]:
    """One for each node that no command takes, and that does not go already."""
    going = {name for command in decision.commands for name in command.candidates}
    for verdict in decision.verdicts:
        if verdict.node not in going and verdict.code != DELETING:
            blocked = decision.blocked.get(verdict.node)
            why = f"{verdict.text}; {blocked}" if blocked else verdict.text
            yield Decision(KEEP, (verdict.node,), {"code": verdict.code}, why, total, total)


def _why_disrupted(command: disruption.Command, empty: Mapping[str, str]) -> str:
    if command.reason == EMPTY:
        return "; ".join(empty[name] for name in command.candidates if name in empty)
    if command.reason == DRIFTED:
        return "what its NodePool or node class would buy now is another"
    where = "on cheaper nodes" if command.replacements else "on nodes that are there"
    return f"what runs there has a place {where}, which saves ${command.saved:.4f}/h"


def runner_up(purchase: Purchase) -> tuple[str, str, str, float] | None:
    """The cheapest candidate of another type than the first: what would be bought if there were none of that."""
    first = purchase.candidates[0][0]
    return next((each for each in purchase.candidates if each[0] != first), None)


def why_bought(purchase: Purchase) -> str:
    """In a sentence: what else would have held the pods, and what it costs more."""
    if not purchase.candidates:
        return "one more of its static NodePool, before another one goes"
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
    if not purchase.candidates:
        return {"nodePool": purchase.pool}
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
