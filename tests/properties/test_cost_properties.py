"""What holds for the cost of every plan, over generated clusters: bounds are below, improvement is not above."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autonodes.core.bound import bound
from autonodes.core.model import Snapshot
from autonodes.core.packing import Problem
from autonodes.core.planner import plan
from autonodes.core.proof import problem, prove
from properties.plancheck import node_violations, violations
from properties.snapshot_strategies import snapshots
from properties.topologycheck import topology_violations

thorough = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def patient(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, pools=tuple(replace(pool, planning_deadline=5.0) for pool in snapshot.pools))


@thorough
@given(snapshots())
def test_no_plan_is_below_its_bound(snapshot: Snapshot) -> None:
    found = plan(snapshot)
    proof = prove(snapshot, found)
    assert proof.lower_bound <= found.cost + 1e-9
    assert proof.cost == found.cost
    assert len(proof.runners_up) == len(found.purchases)


@thorough
@given(snapshots(), st.data())
def test_fewer_types_never_lower_the_bound(snapshot: Snapshot, data: st.DataObject) -> None:
    """Of the types that are left out none is needed to hold a pod."""
    whole = problem(snapshot, plan(snapshot))
    if whole.supplies:
        chosen = data.draw(st.sets(st.sampled_from(range(len(whole.supplies)))))
        part = Problem(whole.demands, [whole.supplies[index] for index in sorted(chosen)])
        if all(any(limits[item] for limits in part.limits) for item in range(len(part.demands))):
            assert bound(whole).value <= bound(part).value + 1e-6


@thorough
@given(snapshots())
def test_an_improved_plan_is_right_and_not_dearer_and_places_as_many(snapshot: Snapshot) -> None:
    first, better = plan(snapshot), plan(patient(snapshot))
    assert better.cost <= first.cost + 1e-9
    assert len(better.unplaced) <= len(first.unplaced)
    assert violations(patient(snapshot), better) == []
    assert node_violations(patient(snapshot), better) == []
    if better.purchases != first.purchases:
        assert topology_violations(patient(snapshot), better) == []
