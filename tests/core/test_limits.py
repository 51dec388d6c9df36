"""Limits of pools and of the cluster in money: what is there, in flight and leaving counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autonodes.core.labels import CAPACITY_TYPE, HOSTNAME, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.model import NodePool, Plan, Pod
from autonodes.core.money import COST, cost_limit
from autonodes.core.planner import plan
from autonodes.core.simulation import Simulation
from core.parts import claim, machine, node, pods, pool, requirements, running, snapshot

SMALL = machine("small", cpu=2, memory="4Gi", price=0.1, zones=("z1", "z2"))
LARGE = machine("large", cpu=8, memory="16Gi", price=0.5)
FIVE = pods("a", 5, cpu=2)


def limited(hourly: float, name: str = "default", **fields: int) -> NodePool:
    return pool(name, limits=cost_limit(hourly, None), **fields)


def bought(found: Plan) -> int:
    return len(found.purchases)


def reason(found: Plan) -> str:
    return next(iter(found.unplaced.values()))[0].text


def test_no_more_is_bought_than_the_money_allows() -> None:
    found = plan(snapshot(FIVE, types=(SMALL,), pools=[limited(0.35)]))
    assert bought(found) == 3
    assert reason(found) == "limit exceeded (cost limit $0.35/h, $0.05/h left)"


def test_exactly_the_limit_may_be_spent() -> None:
    assert bought(plan(snapshot(FIVE, types=(SMALL,), pools=[limited(0.5)]))) == 5


def test_each_pool_has_its_own_limit() -> None:
    pools = [limited(0.2, "first", weight=10), limited(0.1, "second")]
    found = plan(snapshot(FIVE, types=(SMALL,), pools=pools))
    assert sorted(purchase.pool for purchase in found.purchases) == ["first", "first", "second"]


def test_the_clusters_limit_is_for_all_pools_together() -> None:
    pools = [limited(0.2, "first", weight=10), pool("second")]
    found = plan(snapshot(FIVE, types=(SMALL,), pools=pools, limits=cost_limit(None, 0.3 * 730)))
    assert sorted(purchase.pool for purchase in found.purchases) == ["first", "first", "second"]
    assert "cluster-wide cost limit $0.30/h, $0.00/h left" in reason(found)


def test_the_clusters_limit_may_be_in_nodes_as_well() -> None:
    assert bought(plan(snapshot(FIVE, types=(SMALL,), limits={"nodes": 2}))) == 2


LABELS = {NODE_POOL: "default", INSTANCE_TYPE: "small", ZONE: "z1", CAPACITY_TYPE: "on-demand"}


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ({"claims": [claim("launched")]}, 4),
        ({"claims": [claim("leaving", deleted_at=900.0)]}, 4),
        ({"claims": [claim("behind", node_name="n")], "nodes": [node("n", labels=LABELS)]}, 4),
        ({"nodes": [node("claimless", labels=LABELS)]}, 4),
        ({"nodes": [node("of-another-zone", labels={**LABELS, ZONE: "z9"})]}, 4),
        ({"nodes": [node("of-an-unknown-type", labels={**LABELS, INSTANCE_TYPE: "gone"})]}, 0),
        ({"nodes": [node("somebody-elses")]}, 5),
        ({"claims": [claim("undecided", launched=False, labels={}, requirements=requirements())]}, 0),
        ({"claims": [claim("small", launched=False, requirements=requirements(f"{INSTANCE_TYPE} In small"))]}, 4),
    ],
)
def test_what_costs_money_already_counts(what: dict[str, Sequence[object]], left: int) -> None:
    """A dollar's fifth of the limit each; what is not known counts as the dearest that it may be."""
    taken = {"claims": [], "nodes": [], **what}
    busy = [replace(each, unschedulable=True) for each in taken.pop("nodes")]
    found = plan(snapshot(pods("a", 9, cpu=2), types=(SMALL, LARGE), pools=[limited(0.5)], nodes=busy, **taken))
    assert sum(purchase.price for purchase in found.purchases) <= 0.1 * left + 1e-9
    if left:
        assert sum(purchase.price for purchase in found.purchases) == pytest.approx(0.1 * left)


def test_what_a_node_that_is_thought_away_uses_may_be_spent_again() -> None:
    """Of that node alone, in however many simulations."""
    names = [f"n{number}" for number in range(3)]
    nodes = [node(name, labels={**LABELS, HOSTNAME: name}) for name in names]
    behind = [claim(name, node_name=name) for name in names]
    there = [running(f"p{name}", name, cpu=2, memory="3Gi") for name in names]
    fleet = snapshot(there, types=(SMALL,), pools=[limited(0.3)], nodes=nodes, claims=behind)
    simulation = Simulation(fleet)
    for gone in (names[:1], names[:2], names, names[1:2]):
        found = simulation.without(gone)
        assert len(found.purchases) == len(gone)
        assert not found.unplaced
    tight = Simulation(replace(fleet, pools=(limited(0.25),)))
    assert len(tight.without(names[:2]).purchases) == 1
    assert len(tight.without(names).purchases) == 2


@pytest.mark.parametrize("of_cluster", [False, True])
def test_a_limit_in_dollars_a_month_counts_what_is_in_flight(of_cluster: bool) -> None:
    """365 dollars in 730 hours are half a dollar an hour: five small machines, of which two are on their way."""
    limits = cost_limit(None, 365.0)
    flying = [claim(name, launched=False, requirements=requirements(f"{INSTANCE_TYPE} In small")) for name in "ab"]
    pools = [pool(limits={} if of_cluster else limits)]
    given = {"limits": limits} if of_cluster else {}
    found = plan(snapshot(pods("a", 9, cpu=2), types=(SMALL, LARGE), pools=pools, claims=flying, **given))
    assert sum(each.price for each in found.purchases) == pytest.approx(0.3)
    assert "cost limit $0.50/h" in str(next(iter(found.unplaced.values()))[0].text)


def test_important_pods_get_the_money() -> None:
    waiting = [*pods("low", 3, cpu=2), *pods("high", 2, cpu=2, priority=100)]
    found = plan(snapshot(waiting, types=(SMALL,), pools=[limited(0.2)]))
    assert {uid for each in found.purchases for uid in each.pods} == {"high-000", "high-001"}


def test_a_candidate_that_the_money_does_not_allow_is_left_out() -> None:
    found = plan(snapshot(FIVE[:1], types=(SMALL, LARGE), pools=[limited(0.45)]))
    assert {candidate[0] for candidate in found.purchases[0].candidates} == {"small"}


def dearest(found: Plan, name: str | None = None) -> float:
    mine = (purchase for purchase in found.purchases if name in (None, purchase.pool))
    return sum(max(price for *_, price in purchase.candidates) for purchase in mine)


@given(st.integers(0, 40), st.integers(0, 40), st.lists(st.sampled_from([1, 2, 5]), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_whichever_candidates_are_bought_no_limit_is_exceeded(of_pool: int, of_all: int, sizes: list[int]) -> None:
    waiting: Iterable[Pod] = (each for number, cpu in enumerate(sizes) for each in pods(f"a{number}", 1, cpu=cpu))
    pools = [limited(of_pool / 20, "first", weight=1), pool("second")]
    found = plan(snapshot(waiting, types=(SMALL, LARGE), pools=pools, limits=cost_limit(of_all / 20, None)))
    assert dearest(found, "first") <= of_pool / 20 + 1e-9
    assert dearest(found) <= of_all / 20 + 1e-9


def test_without_a_limit_money_is_not_counted() -> None:
    assert COST not in pool().limits
    assert bought(plan(snapshot(FIVE, types=(SMALL,)))) == 5
