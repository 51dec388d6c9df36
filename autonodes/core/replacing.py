"""Which machines may replace nodes so that something is saved: the offerings that are left are all cheaper.

A purchase lists every type that holds its pods, and any of them may be launched if the first is sold out. So before
it replaces anything it is narrowed down to those that still save what is asked for. Spot for spot needs fifteen cheaper
types to choose from: each replacement by the one cheapest type would sooner or later sit on the capacity that is
taken away next. One that replaces a single spot node keeps only the fifteen cheapest, so that the next one can't be
replaced for a trifle at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from autonodes.core.labels import CAPACITY_SPOT, CAPACITY_TYPE, INSTANCE_TYPE, ZONE
from autonodes.core.model import Purchase
from autonodes.core.requirements import Requirement, Requirements

SPOT_CHOICE: Final = 15
"""Types from which a spot node that replaces a spot node must be able to choose."""


def cheaper(purchases: Sequence[Purchase], budget: float) -> tuple[Purchase, ...] | None:
    """The purchases, narrowed down so that all of them together cost less than a budget whatever is launched; None if
    they can't.

    :param budget: dollars an hour
    """
    slack = budget - sum(purchase.price for purchase in purchases)
    if slack <= 0:
        return None
    share = slack / max(1, len(purchases))
    return tuple(narrowed(purchase, purchase.price + share) for purchase in purchases)


def narrowed(purchase: Purchase, limit: float) -> Purchase:
    """With those candidates only that cost less than a limit in whatever zone they are launched, at the capacity type
    of the cheapest; at least with that one.

    :param limit: dollars an hour, more than the cheapest candidate's price
    """
    name, zone, capacity_type, _ = purchase.candidates[0]
    alike = [each for each in purchase.candidates if each[2] == capacity_type]
    dear = {each[0] for each in alike if each[3] >= limit}
    kept = [each for each in alike if each[0] not in dear]
    if not kept:
        kept = [each for each in alike if each[:2] == (name, zone)]
    return _only(purchase, kept)


def with_spot_choice(purchase: Purchase) -> Purchase | None:
    """The replacement of a single spot node, if it leaves enough choice or is not spot itself; else None."""
    if purchase.candidates[0][2] != CAPACITY_SPOT:
        return purchase
    types = list(dict.fromkeys(each[0] for each in purchase.candidates))
    if len(types) < SPOT_CHOICE:
        return None
    kept = frozenset(types[:SPOT_CHOICE])
    return _only(purchase, [each for each in purchase.candidates if each[0] in kept])


def _only(purchase: Purchase, candidates: Sequence[tuple[str, str, str, float]]) -> Purchase:
    keys = {INSTANCE_TYPE: 0, ZONE: 1, CAPACITY_TYPE: 2}
    settled = Requirements(
        Requirement.of(key, "In", sorted({str(each[place]) for each in candidates}))
        for key, place in keys.items()
        if all(each[place] for each in candidates)
    )
    return replace(purchase, candidates=tuple(candidates), requirements=purchase.requirements & settled)
