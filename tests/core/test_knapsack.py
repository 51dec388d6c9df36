"""One node, filled as valuably as can be."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from autonodes.core.knapsack import Knapsack

NO_PRICES = (0.0, 0.0)


def test_what_is_worth_more_than_the_best_ratio_is_found() -> None:
    """By ratio the first item goes in first and keeps the other two out, which are worth more together."""
    sack = Knapsack((10, 9), [((0, 6), (1, 1)), ((0, 5), (1, 1))], [1, 2])
    assert sack.fill([6.6, 5.0], (1.0, 0.0), 100) == (10.0, {1: 2})


def test_nothing_is_taken_that_is_worth_nothing() -> None:
    assert Knapsack((10, 9), [((0, 1),)], [5]).fill([0.0], NO_PRICES, 10) == (0.0, {})


items = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 6), st.integers(1, 3), st.integers(1, 20)), min_size=1, max_size=4
)


@given(items)
@settings(max_examples=100, deadline=None)
def test_with_steps_enough_it_is_the_best(found: list[tuple[int, int, int, int]]) -> None:
    room, prices = (12, 10), (0.5, 0.5)
    sizes = [tuple((place, need) for place, need in enumerate(item[:2]) if need) for item in found]
    worth = [float(item[3]) for item in found]
    best = max(
        sum(value * count for value, count in zip(worth, counts, strict=True))
        for counts in itertools.product(*(range(item[2] + 1) for item in found))
        if all(
            sum(item[place] * count for item, count in zip(found, counts, strict=True)) <= room[place]
            for place in (0, 1)
        )
    )
    # every step takes one item off, and each choice of counts is met at most once
    assert Knapsack(room, sizes, [item[2] for item in found]).fill(worth, prices, 10_000).worth == best
