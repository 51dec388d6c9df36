"""Limits in money, in the terms of all other limits: an amount of a resource that nodes use up.

The resource is called `COST` and counted in microdollars an hour, so that sums are exact. A monthly limit is an hourly
one of 730 hours a month, as clouds' own calculators have it. A price is rounded up and a limit down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from autonodes.core.errors import ConfigError
from autonodes.core.labels import MAX_HOURLY_COST, MAX_MONTHLY_COST

COST: Final = "$/h"
"""Among the names of resources; no resource can be called so."""

HOURS_A_MONTH: Final = 730
MOST_DOLLARS: Final = 1_000_000_000
"""No one who writes more means it."""

_MICRO: Final = 1_000_000
_REMEDY: Final = 'write dollars as a number without a sign or unit, such as "12.50"'


def microdollars(price: float) -> int:
    """Rounded up; a price that is not known counts as more than any limit."""
    return math.ceil(round(price * _MICRO, 3)) if price < math.inf else MOST_DOLLARS * _MICRO


def dollars(amount: int) -> str:
    """``$12.50``; to the cent where that is exact."""
    return f"${amount / _MICRO:.2f}" if amount % 10_000 == 0 else f"${amount / _MICRO:.4f}"


def parse_dollars(text: str, *, path: str) -> float:
    """
    :raises ConfigError: not a number of dollars
    """
    try:
        number = float(text)
    except ValueError:
        raise ConfigError(path, text, _REMEDY) from None
    if not 0 <= number <= MOST_DOLLARS:
        raise ConfigError(path, text, f"at least 0 and at most {MOST_DOLLARS}: {_REMEDY}")
    return number


def cost_limit(hourly: float | None, monthly: float | None) -> dict[str, int]:
    """What of `COST` is allowed, the smaller of both; empty if there is no limit.

    :param hourly: dollars an hour
    :param monthly: dollars a month
    """
    given = [limit for limit in (hourly, None if monthly is None else monthly / HOURS_A_MONTH) if limit is not None]
    return {COST: math.floor(round(min(given) * _MICRO, 3))} if given else {}


def annotated_limit(annotations: Mapping[str, str]) -> dict[str, int]:
    """The limit that an object's annotations set.

    :raises ConfigError: one of them does not say a number of dollars
    """
    hourly, monthly = (
        parse_dollars(annotations[key], path=f"metadata.annotations[{key}]") if key in annotations else None
        for key in (MAX_HOURLY_COST, MAX_MONTHLY_COST)
    )
    return cost_limit(hourly, monthly)
