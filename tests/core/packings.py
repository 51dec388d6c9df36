"""Small packings at random, and their cheapest answer by trying everything."""

from __future__ import annotations

import itertools
from functools import cache

from hypothesis import strategies as st

from autonodes.core.packing import Demand, Problem, Supply

_sizes = st.tuples(st.integers(0, 5), st.integers(1, 6), st.integers(0, 1))
_rooms = st.tuples(st.integers(5, 12), st.integers(6, 14), st.integers(1, 2))
_prices = st.integers(1, 30).map(lambda tenths: tenths / 10)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to three demands and three supplies; the first supply holds one of anything."""
    demands = draw(st.lists(st.builds(Demand, _sizes, st.integers(1, 3), st.integers(0, 1)), min_size=1, max_size=3))
    first = draw(st.builds(Supply, _rooms, _prices))
    others = st.builds(Supply, _rooms, _prices, st.sampled_from([-1, 0b01, 0b10]))
    return Problem(demands, [first, *draw(st.lists(others, max_size=2))])


def cheapest(problem: Problem) -> float:
    """What all demands cost at least, in whole nodes."""
    fillings: dict[tuple[int, ...], float] = {}
    for counts in itertools.product(*(range(demand.count + 1) for demand in problem.demands)):
        prices = [supply.price for supply in problem.supplies if any(counts) and holds(problem, supply, counts)]
        if prices:
            fillings[counts] = min(prices)

    @cache
    def rest(left: tuple[int, ...]) -> float:
        if not any(left):
            return 0.0
        return min(
            price + rest(tuple(have - taken for have, taken in zip(left, counts, strict=True)))
            for counts, price in fillings.items()
            if all(taken <= have for taken, have in zip(counts, left, strict=True))
        )

    return rest(tuple(demand.count for demand in problem.demands))


def holds(problem: Problem, supply: Supply, counts: tuple[int, ...]) -> bool:
    load = problem.load(dict(enumerate(counts)))
    kinds_fit = all(
        supply.kinds >> demand.kind & 1 for demand, count in zip(problem.demands, counts, strict=True) if count
    )
    return kinds_fit and all(need <= have for need, have in zip(load, supply.room, strict=True))
