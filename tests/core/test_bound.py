"""The lower bound: what it must be where the answer is plain, and that no packing is below it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autonodes.core.bound import MOST_CELLS, bound, merge
from autonodes.core.packing import Demand, Problem, Supply
from core.packings import cheapest, problems

PRICED = Supply((8, 32), 1.0)


def test_nothing_costs_nothing() -> None:
    assert bound(Problem([], [PRICED])).value == 0


def test_what_no_supply_holds_is_left_out() -> None:
    found = bound(Problem([Demand((9, 1), 5), Demand((8, 32), 2)], [PRICED]))
    assert found.value == pytest.approx(2)
    assert found.worth == pytest.approx([0, 1])


def test_fractions_of_nodes_are_counted() -> None:
    assert bound(Problem([Demand((2, 4), 6)], [PRICED])).value == pytest.approx(1.5)


def test_a_node_holds_whole_pods_only() -> None:
    """By room alone three pods of 5 would need 15/8 nodes."""
    assert bound(Problem([Demand((5, 1), 3)], [PRICED])).value == pytest.approx(3)


def test_pods_that_must_be_apart_force_nodes() -> None:
    apart = Supply((8, 32, 1), 1.0)
    assert bound(Problem([Demand((1, 1, 1), 10)], [apart])).value == pytest.approx(10)


def test_pods_go_only_where_their_kind_may() -> None:
    supplies = [Supply((8, 32), 1.0, kinds=0b01), Supply((8, 32), 3.0, kinds=0b10)]
    demands = [Demand((8, 1), 1, kind=0), Demand((8, 1), 1, kind=1)]
    assert bound(Problem(demands, supplies)).value == pytest.approx(4)


def test_supplies_that_come_in_later_count_as_well() -> None:
    """The bargain is none of the first choice: neither the cheapest that holds a pod nor at an even step."""
    supplies = [Supply((number, number), float(number)) for number in range(1, 201)]
    supplies[76] = Supply((800, 800), 77.0)
    assert bound(Problem([Demand((1, 1), 8000)], supplies)).value == pytest.approx(770)


def test_rounding_down_lowers_the_bound_and_little() -> None:
    draw = random.Random(1)  # noqa: S311 -- sizes, not secrets
    demands = [Demand((draw.randint(100, 4000), draw.randint(100, 9000)), 1) for _ in range(1000)]
    supplies = [Supply((16000 * size, 32000 * size), float(size)) for size in (1, 2, 4)]
    rough, exact = Problem(demands, supplies), sum(demand.size[0] for demand in demands) / 16000
    assert 0.93 * exact <= bound(rough).value
    assert len(merge(demands, MOST_CELLS)) == MOST_CELLS


def test_more_kinds_than_the_program_takes_still_bound() -> None:
    demands = [Demand((4, 4), 1, kind=kind) for kind in range(100)]
    found = bound(Problem(demands, [Supply((8, 32), 1.0, kinds=1 << kind) for kind in range(100)]))
    assert 50 <= found.value <= 100


@given(problems())
@settings(max_examples=80, deadline=None)
def test_no_packing_is_below_it(problem: Problem) -> None:
    assert bound(problem).value <= cheapest(problem) + 1e-9


@given(problems(), st.data())
@settings(max_examples=60, deadline=None)
def test_more_supplies_never_raise_it(problem: Problem, data: st.DataObject) -> None:
    enough = [Supply((20, 20, 2), 50.0), *problem.supplies]
    fewer = [enough[0], *data.draw(st.lists(st.sampled_from(enough), max_size=3))]
    whole, part = Problem(problem.demands, enough), Problem(problem.demands, fewer)
    assert bound(whole).value <= bound(part).value + 1e-6
