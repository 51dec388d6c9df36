"""Plans that are given time: cheaper where greed was short-sighted, and as right as before."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from autonodes.core import refining
from autonodes.core.errors import EnvironmentFault
from autonodes.core.labels import CAPACITY_RESERVED, ZONE
from autonodes.core.model import HostPort, InstanceType, Offering, Plan, Pod
from autonodes.core.money import cost_limit
from autonodes.core.planner import plan
from autonodes.core.proof import prove
from core.parts import GPU, daemonset, machine, pod, pods, pool, snapshot

TYPES = (
    machine("c4", cpu=4, memory="8Gi", price=0.17, zones=("z1", "z2")),
    machine("m4", cpu=4, memory="16Gi", price=0.192, zones=("z1", "z2")),
    machine("r4", cpu=4, memory="32Gi", price=0.252, zones=("z1", "z2")),
    machine("c16", cpu=16, memory="32Gi", price=0.68, zones=("z1", "z2")),
    machine("r16", cpu=16, memory="128Gi", price=1.008, zones=("z1", "z2")),
    machine("g8", cpu=8, memory="32Gi", gpu=1, price=1.21, zones=("z1", "z2")),
)


def mixture() -> list[Pod]:
    draw = random.Random(3)  # noqa: S311 -- sizes, not secrets
    found: list[Pod] = []
    for number in range(25):
        cpu, memory = draw.choice([300, 700, 1100, 1900, 2600, 3300]), draw.choice([600, 1500, 3700, 7100, 11000])
        terms = [f"{ZONE} In z1"] if number % 5 == 0 else []
        size = {"cpu": f"{cpu}m", "memory": f"{memory}Mi", "gpu": int(number % 8 == 0)}
        found += pods(f"p{number}", draw.randint(3, 30), *terms, **size)
    return found


def planned(waiting: Sequence[Pod], seconds: float, types: Sequence[InstanceType] = TYPES, **fields: object) -> Plan:
    return plan(snapshot(waiting, types=types, pools=[pool("default", planning_deadline=seconds, **fields)]))


def test_time_makes_a_plan_cheaper() -> None:
    first, better = planned(mixture(), 0), planned(mixture(), 5)
    assert better.cost < first.cost
    assert sorted(uid for each in better.purchases for uid in each.pods) == sorted(each.uid for each in mixture())
    lower = prove(snapshot(mixture(), types=TYPES), better).lower_bound
    assert lower <= better.cost <= 1.08 * lower


def test_the_same_snapshot_has_the_same_plan() -> None:
    assert planned(mixture(), 5) == planned(mixture(), 5)


def test_more_time_than_a_plan_takes_is_not_used() -> None:
    assert planned(pods("a", 3, cpu=4), 5) == planned(pods("a", 3, cpu=4), 50)


def test_pods_stay_in_the_pool_of_the_greater_weight() -> None:
    """The other one is cheaper."""
    dear = machine("dear", cpu=4, memory="16Gi", price=0.5)
    first = pool("first", f"{ZONE} In z1", weight=10, planning_deadline=5.0)
    both = snapshot(mixture(), types=(*TYPES, dear), pools=[first, pool("second", planning_deadline=5.0)])
    assert {each.pool for each in plan(both).purchases} == {"first"}


def test_limits_hold() -> None:
    first = planned(mixture(), 0)
    found = planned(mixture(), 5, limits={"nodes": len(first.purchases), **cost_limit(first.cost * 2, None)})
    assert len(found.purchases) <= len(first.purchases)
    assert found.cost <= first.cost
    assert not found.unplaced


def test_what_is_reserved_is_kept_and_the_rest_becomes_cheaper() -> None:
    """To a packing that counted on more reserved machines than there are nothing else would be worth its price."""

    def reserving(instance_type: InstanceType, count: int) -> InstanceType:
        name = f"cr-{instance_type.name}"
        one = Offering(zone="z1", capacity_type=CAPACITY_RESERVED, price=0.0, reservation=name, count=count)
        return replace(instance_type, offerings=(*instance_type.offerings, one))

    def reserved(found: Plan) -> Counter[str]:
        return Counter(name for each in found.purchases for name, _, kind, _ in each.candidates if kind == "reserved")

    types = (*TYPES, reserving(replace(TYPES[1], name="m4r"), 3), reserving(replace(TYPES[4], name="r16r"), 2))
    first, better = planned(mixture(), 0, types), planned(mixture(), 5, types)
    assert reserved(first) == reserved(better) == {"m4r": 3, "r16r": 2}
    assert better.cost < first.cost < planned(mixture(), 0).cost
    assert sorted(uid for each in better.purchases for uid in each.pods) == sorted(each.uid for each in mixture())


def test_what_must_keep_apart_does() -> None:
    waiting = [*mixture(), *pods("web", 12, cpu="100m", host_ports=(HostPort(80),))]
    web = {each.uid for each in waiting if each.host_ports}
    assert max(len(web.intersection(each.pods)) for each in planned(waiting, 5).purchases) == 1


def test_no_device_for_pods_that_do_not_ask() -> None:
    cheap = machine("cheap-gpu", cpu=16, memory="128Gi", gpu=1, price=0.1, zones=("z1", "z2"))
    waiting = mixture()
    asking = {each.uid for each in waiting if GPU in each.requests}
    found = planned(waiting, 5, (*TYPES, cheap))
    assert all(
        asking.intersection(each.pods) for each in found.purchases if each.candidates[0][0] in ("cheap-gpu", "g8")
    )


def test_daemonsets_find_room_on_the_new_nodes() -> None:
    given = snapshot(
        mixture(),
        types=TYPES,
        pools=[pool("default", planning_deadline=5.0)],
        daemonsets=[daemonset("logs", cpu="200m", memory="200Mi")],
    )
    found = plan(given)
    waiting = {each.uid: each for each in given.pods}
    room = {each.name: each.allocatable["cpu"] - 200 for each in TYPES}
    for each in found.purchases:
        assert sum(waiting[uid].requests["cpu"] for uid in each.pods) <= room[each.candidates[0][0]]


def test_too_many_different_demands_are_left_as_they_are() -> None:
    waiting = [pod(f"p{number}", cpu=f"{100 + number}m", memory=f"{500 + 7 * number}Mi") for number in range(401)]
    assert Counter(each.candidates[0][0] for each in planned(waiting, 60).purchases) == Counter(
        each.candidates[0][0] for each in planned(waiting, 0).purchases
    )


def test_a_solver_that_fails_leaves_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise EnvironmentFault("the LP solver stopped", "another version")

    monkeypatch.setattr(refining, "improve", failing)
    assert planned(mixture(), 5) == planned(mixture(), 0)
