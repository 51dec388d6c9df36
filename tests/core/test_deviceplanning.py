"""Pods that claim devices: where they find them, and what is bought for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autonodes.core.deviceplanning import PUBLISHED_AFTER
from autonodes.core.devices import (
    Attribute,
    Device,
    DeviceClass,
    DeviceRequest,
    DeviceState,
    ResourceClaim,
    ResourceSlice,
)
from autonodes.core.labels import INSTANCE_TYPE, NODE_POOL
from autonodes.core.model import InstanceType, Plan, Pod, PodUID
from autonodes.core.planner import place, plan
from autonodes.core.requirements import FIELD_NAME
from core.parts import claim, machine, node, pod, ready_node, requirements, running, snapshot

GPUS = DeviceClass(name="gpu", selectors=('device.driver == "gpu.example.com"',))
LARGE = 'device.capacity["gpu.example.com"].memory.compareTo(quantity("40Gi")) >= 0'
PLAIN = machine("plain", cpu=8, price=0.2)


def gpu(gib: int = 16, **fields: Any) -> Device:
    return Device(driver="gpu.example.com", capacity={"memory": f"{gib}Gi"}, **fields)


def selling(name: str, *devices: Device, price: float, cpu: int = 8) -> InstanceType:
    return replace(machine(name, cpu=cpu, memory="32Gi", price=price), devices=devices)


ONE = selling("one", gpu(), price=1.0)
FOUR = selling("four", *[gpu()] * 4, price=4.5)
BIG = selling("big", gpu(80), price=3.0)


def wants(name: str, *selectors: str, count: int = 1, **fields: Any) -> ResourceClaim:
    request = DeviceRequest(name="gpus", device_class="gpu", selectors=selectors, count=count)
    return ResourceClaim(namespace="default", name=name, requests=(request,), **fields)


def claiming(name: str, *claims: str, **fields: Any) -> Pod:
    return pod(name, **{"cpu": 1, "resource_claims": claims or (name,), **fields})


def planned(pods: list[Pod], asked: list[ResourceClaim], *types: InstanceType, **fields: Any) -> Plan:
    slices = fields.pop("slices", ())
    state = DeviceState(classes=(GPUS,), claims=tuple(asked), slices=tuple(slices))
    return plan(snapshot(pods, types=types, devices=state, **fields))


def published(node_name: str, *devices: Device, generation: int = 1) -> ResourceSlice:
    named = tuple(replace(each, pool=node_name, name=f"gpu-{index}") for index, each in enumerate(devices))
    return ResourceSlice(
        name=f"{node_name}-{generation}", driver="gpu.example.com", pool=node_name, node_name=node_name,
        generation=generation, devices=named,
    )  # fmt: skip


def bought(found: Plan) -> list[str]:
    return sorted(purchase.candidates[0][0] for purchase in found.purchases)


def fault(found: Plan, name: str) -> str:
    return found.unplaced[PodUID(name)][0].text


class TestBuying:
    def test_the_machine_has_the_device(self) -> None:
        found = planned([claiming("a")], [wants("a")], PLAIN, ONE, FOUR)
        assert bought(found) == ["one"]

    def test_pods_share_a_machine_as_far_as_its_devices_go(self) -> None:
        names = [f"p{number}" for number in range(6)]
        cheap = selling("four", *[gpu()] * 4, price=2.0)
        found = planned([claiming(name) for name in names], [wants(name) for name in names], ONE, cheap)
        assert bought(found) == ["four", "one", "one"]

    def test_a_count_must_be_on_one_machine(self) -> None:
        assert bought(planned([claiming("a")], [wants("a", count=3)], ONE, FOUR)) == ["four"]
        assert planned([claiming("a")], [wants("a", count=5)], ONE, FOUR).purchases == ()

    def test_a_selector_chooses_the_type(self) -> None:
        assert bought(planned([claiming("a")], [wants("a", LARGE)], ONE, FOUR, BIG)) == ["big"]

    def test_the_dear_device_is_not_used_up_by_who_does_not_need_it(self) -> None:
        mixed = selling("mixed", gpu(16), gpu(80), price=2.0)
        found = planned(
            [claiming("a"), claiming("b"), claiming("c")], [wants("a"), wants("b", LARGE), wants("c", LARGE)], mixed
        )
        assert bought(found) == ["mixed", "mixed"]
        assert all(len([pod for pod in each.pods if pod != "a"]) == 1 for each in found.purchases)

    def test_one_pod_may_claim_of_two_kinds(self) -> None:
        mixed = selling("mixed", gpu(16), gpu(80), price=9.0)
        found = planned([claiming("a", "x", "y")], [wants("x"), wants("y", LARGE)], ONE, BIG, mixed)
        assert bought(found) == ["mixed"]

    def test_machines_with_devices_are_not_for_pods_without_claims(self) -> None:
        bargain = selling("bargain", gpu(), price=0.01)
        found = planned([pod("a", cpu=1)], [], PLAIN, bargain)
        assert bought(found) == ["plain"]

    def test_nobody_else_sees_what_was_made_up(self) -> None:
        found = planned([claiming("a")], [wants("a")], ONE)
        assert set(found.purchases[0].requests) == {"cpu", "pods"}

    def test_pods_that_share_a_claim_get_one_machine(self) -> None:
        pods = [claiming("a", "shared", cpu=3), claiming("b", "shared", cpu=3)]
        found = planned(pods, [wants("shared")], selling("small", gpu(), price=0.5, cpu=4), ONE)
        assert bought(found) == ["one"]
        assert found.purchases[0].pods == ("a", "b")

    def test_a_chain_of_shared_claims_is_one_machine_too(self) -> None:
        pods = [claiming("a", "x"), claiming("b", "y"), claiming("c", "x", "y")]
        found = planned(pods, [wants("x"), wants("y")], ONE, FOUR)
        assert bought(found) == ["four"]


class TestPlacing:
    def test_free_devices_of_a_node_are_used(self) -> None:
        there, behind = ready_node("n", cpu=8)
        found = planned(
            [claiming("a")], [wants("a")], ONE, nodes=[there], claims=[behind], slices=[published("n", gpu())]
        )
        assert found.placements == {"a": "n"}

    def test_devices_that_are_given_away_are_not(self) -> None:
        held = wants("held", allocated=True, devices=(("gpu.example.com", "n", "gpu-0"),))
        there = node("n", cpu=8)
        slices = [published("n", gpu(), gpu())]
        pods = [running("r", "n", cpu=1), claiming("a"), claiming("b")]
        found = planned(pods, [held, wants("a"), wants("b")], ONE, nodes=[there], slices=slices)
        assert found.placements == {"a": "n"}
        assert bought(found) == ["one"]

    def test_only_the_newest_generation_of_a_pool_counts(self) -> None:
        slices = [published("n", gpu(), gpu(), generation=1), published("n", generation=2)]
        found = planned([claiming("a")], [wants("a")], ONE, nodes=[node("n", cpu=8)], slices=slices)
        assert bought(found) == ["one"]

    def test_a_claim_that_has_its_devices_ties_the_pod_to_their_node(self) -> None:
        held = wants(
            "a", allocated=True, devices=(("gpu.example.com", "m", "gpu-0"),),
            node_terms=(requirements(f"{FIELD_NAME} In m"),),
        )  # fmt: skip
        nodes = [node(name, cpu=8) for name in ("l", "m", "n")]
        found = planned([claiming("a")], [held], ONE, nodes=nodes, slices=[published("m", gpu())])
        assert found.placements == {"a": "m"}

    def test_claims_in_flight_bring_what_their_type_declares(self) -> None:
        flying = claim("c", cpu=8, labels={NODE_POOL: "default", INSTANCE_TYPE: "one"})
        found = planned([claiming("a"), claiming("b")], [wants("a"), wants("b")], ONE, claims=[flying])
        assert found.placements == {"a": "c"}
        assert bought(found) == ["one"]

    def test_a_young_node_has_what_its_type_declares_until_its_drivers_speak(self) -> None:
        labels = {NODE_POOL: "default", INSTANCE_TYPE: "one"}
        young = node("n", cpu=8, labels=labels, created_at=1000.0)
        pods, claims = [claiming("a")], [wants("a")]
        assert planned(pods, claims, ONE, nodes=[young], now=1010.0).placements == {"a": "n"}
        late = 1000.0 + PUBLISHED_AFTER
        assert bought(planned(pods, claims, ONE, nodes=[young], now=late)) == ["one"]
        silent = [published("n")]
        assert bought(planned(pods, claims, ONE, nodes=[young], slices=silent, now=1010.0)) == ["one"]

    def test_placing_alone_knows_devices_too(self) -> None:
        state = DeviceState(classes=(GPUS,), claims=(wants("a"), wants("b")), slices=(published("n", gpu()),))
        assert place(snapshot([claiming("a"), claiming("b")], nodes=[node("n", cpu=8)], devices=state)) == {"a": "n"}


class TestFaults:
    @pytest.mark.parametrize(
        ("given", "named"),
        [
            ([], "no ResourceClaim 'a'"),
            ([wants("a", fault="spec.devices.requests[0].firstAvailable: not planned for")], "firstAvailable"),
            ([wants("a", "device.driver ==")], "not a CEL expression"),
            ([wants("a", 'device.driver == "other"')], "meets it"),
            ([wants("a", "device.nothing")], "meets it"),
        ],
    )
    def test_what_is_not_understood_is_named_and_nothing_is_bought(
        self, given: list[ResourceClaim], named: str
    ) -> None:
        found = planned([claiming("a"), pod("b", cpu=1)], given, PLAIN, ONE)
        assert named in fault(found, "a")
        assert bought(found) == ["plain"]

    def test_a_class_that_does_not_exist_is_named(self) -> None:
        request = DeviceRequest(name="r", device_class="none")
        asked = ResourceClaim(namespace="default", name="a", requests=(request,))
        assert "no DeviceClass 'none'" in fault(planned([claiming("a")], [asked], ONE), "a")

    def test_a_device_that_is_not_supported_is_not_counted(self) -> None:
        odd = selling("odd", gpu(unsupported="is cut from another"), price=0.5)
        assert planned([claiming("a")], [wants("a")], odd).purchases == ()

    def test_a_selector_that_fails_on_a_device_of_a_machine_fails_for_the_machine(self) -> None:
        model = 'device.attributes["gpu.example.com"].model == "x"'
        good = replace(gpu(), attributes={"model": Attribute("x")})
        found = planned([claiming("a")], [wants("a", model)], selling("half", good, gpu(), price=0.1))
        assert found.purchases == ()
        assert bought(planned([claiming("a")], [wants("a", model)], selling("whole", good, price=0.1))) == ["whole"]
