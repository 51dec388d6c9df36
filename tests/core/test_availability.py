"""What failed launches teach, and how it is forgotten."""

from __future__ import annotations

import pytest

from autonodes.core.availability import HALF_LIFE, Availability, OfferingKey, offering_of
from autonodes.core.model import InstanceType, Offering
from autonodes.core.requirements import Requirements

NOW = 1_000_000.0
A, B = OfferingKey("default", "small", "a", "spot"), OfferingKey("default", "small", "b", "spot")


def small(*, available: str = "ab") -> InstanceType:
    offerings = tuple(
        Offering(zone=zone, capacity_type="spot", price=1.0, available=zone in available) for zone in "ab"
    )
    return InstanceType(name="small", requirements=Requirements(), capacity={}, overhead={}, offerings=offerings)


def offered(memory: Availability, now: float, *, pool: str = "default", available: str = "ab") -> str:
    (known,) = memory.applied(pool, [small(available=available)], now)
    return "".join(each.zone for each in known.offerings if each.available)


def test_what_was_refused_rests_and_comes_back() -> None:
    memory = Availability(first=30, longest=1800)
    memory.failed([A], NOW)
    assert offered(memory, NOW) == "b"
    assert offered(memory, NOW + 29) == "b"
    assert offered(memory, NOW + 30) == "ab"


def test_another_pool_learns_nothing_from_it() -> None:
    memory = Availability()
    memory.failed([A], NOW)
    assert offered(memory, NOW, pool="other") == "ab"


def test_each_further_failure_doubles_the_rest_up_to_the_longest() -> None:
    memory = Availability(first=30, longest=200)
    now, rests = NOW, []
    for _ in range(5):
        memory.failed([A], now)
        rests.append(memory.standing(A).until - now)
        now = memory.standing(A).until
    assert rests[0] == 30
    assert rests[1] == pytest.approx(60, rel=0.05)
    assert rests[2] == pytest.approx(120, rel=0.1)
    assert rests[-1] == 200


def test_fifty_launches_on_their_way_teach_no_more_than_one() -> None:
    memory = Availability(first=30, longest=1800)
    for _ in range(50):
        memory.failed([A], NOW)
    assert memory.standing(A).until == NOW + 30


def test_failures_fade() -> None:
    memory = Availability(first=30, longest=1800)
    memory.failed([A], NOW)
    later = NOW + 10 * HALF_LIFE
    memory.failed([A], later)
    assert memory.standing(A).until - later == pytest.approx(30, rel=0.01)


def test_a_success_makes_it_as_good_as_new() -> None:
    memory = Availability(first=30, longest=1800)
    for moment in (NOW, NOW + 30, NOW + 90):
        memory.failed([A], moment)
    memory.succeeded(A, NOW + 100)
    assert offered(memory, NOW + 100) == "ab"
    memory.failed([A], NOW + 100)
    assert memory.standing(A).until == NOW + 130


def test_the_estimate_follows_what_was_seen_and_returns_to_even() -> None:
    memory = Availability()
    assert memory.standing(A).estimate(NOW) == 0.5
    memory.failed([A], NOW)
    assert memory.standing(A).estimate(NOW) == pytest.approx(1 / 3)
    assert memory.standing(A).estimate(NOW + 20 * HALF_LIFE) == pytest.approx(0.5, rel=1e-3)
    memory.succeeded(A, NOW)
    assert memory.standing(A).estimate(NOW) == pytest.approx(2 / 3)


def test_nothing_that_was_learned_stops_a_pool_for_longer_than_the_shortest_rest() -> None:
    memory = Availability(first=30, longest=1800)
    now = NOW
    for _ in range(6):
        memory.failed([A, B], now)
        now = memory.standing(A).until
    memory.failed([A, B], now)
    assert memory.standing(A).until > now + 500
    assert offered(memory, now + 29) == ""
    assert offered(memory, now + 31) == "ab"


def test_what_the_provider_lacks_stays_unavailable_and_does_not_count_as_a_way_out() -> None:
    memory = Availability(first=30, longest=1800)
    memory.failed([A], NOW)
    memory.failed([A], NOW + 30)
    assert offered(memory, NOW + 31, available="a") == ""
    assert offered(memory, NOW + 61, available="a") == "a"


def test_types_that_nothing_is_known_of_are_the_same_objects() -> None:
    memory, known = Availability(), small()
    memory.failed([OfferingKey("default", "large", "a", "spot")], NOW)
    assert memory.applied("default", [known], NOW)[0] is known


def test_a_machine_says_by_its_labels_what_it_was_bought_as() -> None:
    shown = {
        "node.kubernetes.io/instance-type": "small",
        "topology.kubernetes.io/zone": "a",
        "karpenter.sh/capacity-type": "spot",
    }
    assert offering_of("default", shown) == A
    assert offering_of("default", {"topology.kubernetes.io/zone": "a"}) is None
