"""Reserved machines are taken first, and never more of them than there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autonodes.core.labels import CAPACITY_RESERVED, CAPACITY_TYPE, INSTANCE_TYPE, ZONE
from autonodes.core.model import Claim, InstanceType, Offering, Plan, PodUID
from autonodes.core.planner import plan
from core.parts import claim, machine, pods, pool, requirements, snapshot


def reserving(count: int | None, *, reservation: str = "cr-1", price: float = 0.0, **fields: Any) -> InstanceType:
    """A machine for two pods, on demand and ``count`` times reserved."""
    plain = machine("small", cpu=2, memory="8Gi", price=0.1, **fields)
    reserved = Offering(zone="z1", capacity_type=CAPACITY_RESERVED, price=price, reservation=reservation, count=count)
    return replace(plain, offerings=(*plain.offerings, reserved))


def kinds(found: Plan) -> list[tuple[str, ...]]:
    """The capacity types that each purchase may become."""
    return sorted(tuple(sorted({kind for _, _, kind, _ in each.candidates})) for each in found.purchases)


def in_flight(name: str, *kinds: str) -> Claim:
    lines = (f"{INSTANCE_TYPE} In small", f"{ZONE} In z1", f"{CAPACITY_TYPE} In {' '.join(kinds)}")
    return claim(name, cpu=0, labels={}, launched=False, requirements=requirements(*lines), allocatable={}, capacity={})


def test_what_is_reserved_is_taken_first() -> None:
    assert kinds(plan(snapshot(pods("a", 2, cpu=1), types=(reserving(1),)))) == [("reserved",)]


def test_no_more_is_planned_than_a_reservation_takes() -> None:
    found = plan(snapshot(pods("a", 10, cpu=1), types=(reserving(2),)))
    assert kinds(found) == [("on-demand",), ("on-demand",), ("on-demand",), ("reserved",), ("reserved",)]
    assert not found.unplaced


def test_a_claim_that_counts_on_a_reservation_allows_nothing_else() -> None:
    (purchase,) = plan(snapshot(pods("a", 1, cpu=1), types=(reserving(1),))).purchases
    assert purchase.requirements[CAPACITY_TYPE].values == {"reserved"}


def test_a_reservation_that_is_used_up_is_not_planned_with() -> None:
    assert kinds(plan(snapshot(pods("a", 2, cpu=1), types=(reserving(0),)))) == [("on-demand",)]


def test_a_reservation_without_a_count_has_no_end() -> None:
    found = plan(snapshot(pods("a", 6, cpu=1), types=(reserving(None),)))
    assert len(found.purchases) == 3
    assert all("reserved" in each for each in kinds(found))


def test_pools_share_a_reservation() -> None:
    pools = [pool("a", "team In a"), pool("b", "team In b")]
    waiting = [*pods("a", 2, "team In a", cpu=1), *pods("b", 2, "team In b", cpu=1)]
    assert kinds(plan(snapshot(waiting, types=(reserving(1),), pools=pools))) == [("on-demand",), ("reserved",)]


def test_types_share_a_reservation() -> None:
    other = replace(reserving(1), name="other")
    reserved_only = [pool("default", f"{CAPACITY_TYPE} In reserved")]
    found = plan(snapshot(pods("a", 4, cpu=1), types=(reserving(1), other), pools=reserved_only))
    assert len(found.purchases) == 1
    assert len(found.unplaced) == 2


def test_reservations_are_counted_apart() -> None:
    other = replace(reserving(1, reservation="cr-2"), name="other")
    assert kinds(plan(snapshot(pods("a", 4, cpu=1), types=(reserving(1), other)))) == [("reserved",), ("reserved",)]


def test_a_claim_in_flight_has_its_reservation() -> None:
    flying = in_flight("c1", "reserved")
    found = plan(snapshot(pods("a", 4, cpu=2), types=(reserving(2),), claims=[flying]))
    assert kinds(found).count(("reserved",)) == 1


def test_a_claim_that_may_become_reserved_counts_as_such() -> None:
    flying = in_flight("c1", "reserved", "on-demand")
    found = plan(snapshot(pods("a", 2, cpu=2), types=(reserving(1),), claims=[flying]))
    assert set(kinds(found)) == {("on-demand",)}


def test_a_launched_claim_is_in_the_provider_s_count() -> None:
    labels = {INSTANCE_TYPE: "small", ZONE: "z1", CAPACITY_TYPE: "reserved"}
    running = claim("c1", cpu=0, labels=labels)
    assert kinds(plan(snapshot(pods("a", 1, cpu=2), types=(reserving(1),), claims=[running]))) == [("reserved",)]


def test_a_pod_that_insists_on_a_full_reservation_is_told_so() -> None:
    found = plan(snapshot(pods("a", 2, f"{CAPACITY_TYPE} In reserved", cpu=2), types=(reserving(1),)))
    assert len(found.purchases) == 1
    (reason,) = found.unplaced[PodUID("a-001")]
    assert reason.text == "the reservations that would do take no more machines"
