"""What holds for every plan, over generated clusters; the judge is `plancheck`, which knows nothing of the planner."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autonodes.core.labels import CAPACITY_TYPE, EXPENDABLE, INSTANCE_TYPE, ZONE
from autonodes.core.model import Claim, Snapshot
from autonodes.core.planner import plan
from autonodes.core.shapes import is_expendable
from properties.plancheck import as_claims, node_violations, violations
from properties.snapshot_strategies import snapshots
from properties.topologycheck import topology_violations

thorough = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@thorough
@given(snapshots())
def test_no_plan_breaks_a_constraint(snapshot: Snapshot) -> None:
    assert violations(snapshot, plan(snapshot)) == []


@thorough
@given(snapshots())
def test_kube_scheduler_would_accept_every_placement_on_a_node(snapshot: Snapshot) -> None:
    assert node_violations(snapshot, plan(snapshot)) == []


@thorough
@given(snapshots())
def test_spread_and_affinity_hold_for_every_pod_as_if_it_came_last(snapshot: Snapshot) -> None:
    assert topology_violations(snapshot, plan(snapshot)) == []


@thorough
@given(snapshots(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(snapshot: Snapshot, random: object) -> None:
    shuffled = replace(
        snapshot,
        **{
            name: tuple(random.sample(getattr(snapshot, name), len(getattr(snapshot, name))))  # type: ignore[attr-defined]
            for name in ("pods", "nodes", "pools", "daemonsets")
        },
    )
    assert plan(shuffled) == plan(snapshot) == plan(snapshot)


@thorough
@given(snapshots())
def test_a_plan_that_is_carried_out_buys_nothing_more(snapshot: Snapshot) -> None:
    first = plan(snapshot)
    claims, promises = as_claims(snapshot, first)
    later = plan(replace(snapshot, claims=claims, nominations={**first.placements, **promises}))
    assert later.purchases == ()
    assert later.placements == {**first.placements, **promises}


@thorough
@given(snapshots(), st.data())
def test_whatever_the_provider_launches_for_a_claim_holds_its_pods(snapshot: Snapshot, data: st.DataObject) -> None:
    first = plan(snapshot)
    claims, promises = as_claims(snapshot, first)
    launched = tuple(
        _launch(snapshot, claim, data.draw(st.sampled_from(purchase.candidates)))
        for claim, purchase in zip(claims, first.purchases, strict=True)
    )
    later = plan(replace(snapshot, claims=launched, nominations={**first.placements, **promises}))
    assert later.purchases == ()
    promised = {**first.placements, **promises}
    assert {uid: later.placements.get(uid) for uid in promised} == promised


def _launch(snapshot: Snapshot, claim: Claim, candidate: tuple[str, str, str, float]) -> Claim:
    name, zone, capacity_type, _ = candidate
    machine = next(each for each in snapshot.instance_types[claim.pool] if each.name == name)
    own = {INSTANCE_TYPE: name, ZONE: zone, CAPACITY_TYPE: capacity_type}
    settled = claim.requirements & machine.requirements
    return replace(
        claim,
        launched=True,
        provider_id=f"test://{claim.uid}",
        labels={**settled.labels(but=own), **claim.labels, **own},
        capacity=machine.capacity,
        allocatable=machine.allocatable,
    )


@thorough
@given(snapshots())
def test_expendable_pods_never_cost_anything(snapshot: Snapshot) -> None:
    """As long as they say nothing about others: who must keep away from them is pinned to a domain."""
    undemanding = [replace(pod, spread=(), near=(), apart=()) if is_expendable(pod) else pod for pod in snapshot.pods]
    needed = [pod for pod in undemanding if not is_expendable(pod)]
    cost = plan(replace(snapshot, pods=tuple(undemanding))).cost
    assert cost == pytest.approx(plan(replace(snapshot, pods=tuple(needed))).cost)


@thorough
@given(snapshots())
def test_pods_that_are_all_expendable_buy_nothing(snapshot: Snapshot) -> None:
    cheap = tuple(replace(pod, annotations={EXPENDABLE: "true"}) for pod in snapshot.pods)
    assert plan(replace(snapshot, pods=cheap)).purchases == ()
