"""What a unit of each resource is worth, at the prices of a catalogue.

The linear program: buy machines fractionally, at the least cost, so that the demand for each resource is met. Its dual
gives each resource a price such that no machine is worth more than it costs; at those prices the demand's worth is
the cost, and therefore a lower bound on it. What a set of pods is worth tells how well a node is used: a node whose
pods are worth what it costs could not be bettered.

The dual has one variable a resource and one constraint a machine, and starts feasible (everything worth nothing). So
it is solved by the plain simplex method on a condensed tableau; every step is feasible, so that stopping early
(degenerate cases) costs tightness and not validity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_STEPS_PER_RESOURCE: Final = 12
_EPSILON: Final = 1e-9


def marginal_prices(demand: Sequence[int], machines: Sequence[tuple[float, Sequence[int]]]) -> tuple[float, ...]:
    """Dollars an hour of one unit of each resource.

    :param demand: of each resource
    :param machines: price and room of each machine on sale; what is demanded some machine must have
    """
    wanted = [place for place, amount in enumerate(demand) if amount > 0]
    rows = [
        [room[place] / demand[place] for place in wanted] + [price]
        for price, room in machines
        if any(room[place] > 0 for place in wanted)
    ]
    worth = _maximize(rows, len(wanted))
    prices = [0.0] * len(demand)
    for place, value in zip(wanted, worth, strict=True):
        prices[place] = value / demand[place]
    return tuple(prices)


def _maximize(rows: list[list[float]], width: int) -> list[float]:
    """Maximize the sum of non-negative variables under ``rows · variables ≤ last column``."""
    objective = [1.0] * width
    column_of = list(range(width))  # which variable stands in a column; slacks are numbered from `width`
    row_of = list(range(width, width + len(rows)))
    for _ in range(_STEPS_PER_RESOURCE * width):
        entering = max(range(width), key=lambda column: objective[column])
        if objective[entering] <= _EPSILON:
            break
        leaving = _tightest(rows, entering)
        if leaving is None:
            break
        _pivot(rows, objective, leaving, entering)
        row_of[leaving], column_of[entering] = column_of[entering], row_of[leaving]
    worth = [0.0] * width
    for row, variable in zip(rows, row_of, strict=True):
        if variable < width:
            worth[variable] = max(0.0, row[-1])
    return worth


def _tightest(rows: list[list[float]], column: int) -> int | None:
    best, least = None, 0.0
    for index, row in enumerate(rows):
        if row[column] > _EPSILON:
            ratio = row[-1] / row[column]
            if best is None or ratio < least:
                best, least = index, ratio
    return best


def _pivot(rows: list[list[float]], objective: list[float], leaving: int, entering: int) -> None:
    pivot_row = rows[leaving]
    scale = 1.0 / pivot_row[entering]
    pivot_row[:] = [value * scale for value in pivot_row]
    pivot_row[entering] = scale
    for index, row in enumerate(rows):
        factor = row[entering]
        if index != leaving and factor:
            row[:] = [value - factor * taken for value, taken in zip(row, pivot_row, strict=True)]
            row[entering] = -factor * scale
    factor = objective[entering]
    for column in range(len(objective)):
        objective[column] -= factor * pivot_row[column]
    objective[entering] = -factor * scale
