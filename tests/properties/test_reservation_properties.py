"""No plan counts on more machines of a reservation than it has, over generated clusters."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autonodes.core.labels import CAPACITY_RESERVED
from autonodes.core.model import InstanceType, Offering, Plan, Snapshot
from autonodes.core.planner import plan
from properties.plancheck import as_claims
from properties.snapshot_strategies import snapshots


@st.composite
def reserving(draw: st.DrawFn) -> Snapshot:
    """Any cluster whose pools sell reserved machines, too."""
    snapshot = draw(snapshots())
    counts = {name: draw(st.integers(0, 2)) for name in sorted(_names(snapshot))}
    types = {
        pool: tuple(_with_reservation(each, counts[each.name]) for each in listed)
        for pool, listed in snapshot.instance_types.items()
    }
    return replace(snapshot, instance_types=types)


def _names(snapshot: Snapshot) -> set[str]:
    return {each.name for listed in snapshot.instance_types.values() for each in listed}


def _with_reservation(instance_type: InstanceType, count: int) -> InstanceType:
    reserved = Offering(
        zone="z1", capacity_type=CAPACITY_RESERVED, price=0.0, reservation=f"cr-{instance_type.name}", count=count
    )
    return replace(instance_type, offerings=(*instance_type.offerings, reserved))


def _reserved(found: Plan) -> Counter[str]:
    """By instance type, the purchases that may fall into its reservation."""
    taken: Counter[str] = Counter()
    for purchase in found.purchases:
        taken.update({name for name, _, kind, _ in purchase.candidates if kind == CAPACITY_RESERVED})
    return taken


def _counts(snapshot: Snapshot) -> dict[str, int]:
    return {
        each.name: offering.count
        for listed in snapshot.instance_types.values()
        for each in listed
        for offering in each.offerings
        if offering.count is not None
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(reserving(), st.sampled_from((0.0, 2.0)))
def test_no_reservation_is_overdrawn_now_or_by_what_is_in_flight(snapshot: Snapshot, seconds: float) -> None:
    """Whether a plan is given time or not."""
    pools = tuple(replace(each, planning_deadline=seconds) for each in snapshot.pools)
    snapshot = replace(snapshot, pools=pools)
    counts = _counts(replace(snapshot, claims=()))
    first = plan(replace(snapshot, claims=()))
    assert all(taken <= counts[name] for name, taken in _reserved(first).items())
    claims, promises = as_claims(replace(snapshot, claims=()), first)
    more = tuple(replace(pod, uid=f"{pod.uid}-again", name=f"{pod.name}-again") for pod in snapshot.pods)
    later = plan(replace(snapshot, pods=(*snapshot.pods, *more), claims=claims, nominations=promises))
    together = _reserved(first) + _reserved(later)
    assert all(taken <= counts[name] for name, taken in together.items())
