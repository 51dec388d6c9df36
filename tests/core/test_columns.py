"""Improvement: it packs everything, within the rooms, and never at a higher cost than before."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings

from autonodes.core.bound import bound
from autonodes.core.columns import improve
from autonodes.core.packing import Copies, Demand, Problem, Supply
from core.packings import cheapest, holds, problems


def one_by_one(problem: Problem) -> list[Copies]:
    """Each on a node of its own."""
    return [
        Copies(next(at for at, limits in enumerate(problem.limits) if limits[item]), {item: 1}, demand.count)
        for item, demand in enumerate(problem.demands)
    ]


def improved(problem: Problem, rounds: int = 10) -> list[Copies]:
    return improve(problem, one_by_one(problem), bound(problem), rounds)


def check(problem: Problem, answer: list[Copies]) -> None:
    packed: Counter[int] = Counter()
    for each in answer:
        packed.update({item: count * each.number for item, count in each.counts.items()})
        counts = tuple(each.counts.get(item, 0) for item in range(len(problem.demands)))
        assert holds(problem, problem.supplies[each.supply], counts)
    assert packed == {item: demand.count for item, demand in enumerate(problem.demands)}


@given(problems())
@settings(max_examples=60, deadline=None)
def test_an_improved_packing_is_correct_and_not_dearer(problem: Problem) -> None:
    answer = improved(problem)
    check(problem, answer)
    assert cheapest(problem) - 1e-6 <= problem.cost(answer) <= problem.cost(one_by_one(problem)) + 1e-6


def test_complements_find_each_other() -> None:
    """The proportion of both kinds fills nodes whole; in any other some room is left over."""
    problem = Problem([Demand((7, 1), 30), Demand((1, 3), 30), Demand((0, 4), 30)], [Supply((8, 8), 1.0)])
    answer = improved(problem)
    check(problem, answer)
    assert problem.cost(answer) == 30


def test_a_mixture_comes_near_to_the_bound() -> None:
    draw = random.Random(7)  # noqa: S311 -- sizes, not secrets
    demands = [Demand((draw.randint(1, 30), draw.randint(1, 60), 1), draw.randint(1, 80)) for _ in range(40)]
    supplies = [Supply((16 * size, 32 * size, 30), 1.0 * size) for size in (1, 2, 4)]
    supplies += [Supply((16 * size, 64 * size, 30), 1.3 * size) for size in (1, 2, 4)]
    problem = Problem([each for each in demands if any(s.room[0] >= each.size[0] for s in supplies)], supplies)
    answer = improved(problem, 40)
    check(problem, answer)
    assert problem.cost(answer) <= 1.05 * bound(problem).value


def test_the_same_problem_has_the_same_answer() -> None:
    problem = Problem([Demand((3, 2), 17), Demand((2, 5), 11), Demand((5, 1), 9)], [Supply((11, 13), 1.0)])
    assert improved(problem) == improved(problem)


def test_no_device_for_pods_that_do_not_ask() -> None:
    """A cheap machine with a device is only for pods that ask for one, as long as there is another."""
    with_device = Supply((8, 1), 0.5, devices=frozenset({1}))
    problem = Problem([Demand((2, 0), 8), Demand((2, 1), 1)], [Supply((4, 0), 1.0), with_device])
    answer = improved(problem)
    check(problem, answer)
    assert problem.cost(answer) < problem.cost(one_by_one(problem))
    assert all(each.counts.get(1) for each in answer if each.supply == 1)


def test_without_rounds_the_answer_stays() -> None:
    problem = Problem([Demand((4, 4), 2)], [Supply((8, 8), 1.0)])
    assert improve(problem, one_by_one(problem), bound(problem), 0) == one_by_one(problem)
