from __future__ import annotations

import pytest

from autonodes.core.requirements import Requirement, Requirements
from autonodes.provider import NodeClassNotReadyError
from providers.kwok.catalogue import SPOT_SHARE, ZONES, instance_types, node_labels

GENERIC = instance_types({})
BY_NAME = {offered.name: offered for offered in GENERIC}


def test_the_generic_catalogue_has_every_size_family_and_architecture() -> None:
    assert len(GENERIC) == len(BY_NAME) == 12 * 3 * 2
    assert {len(offered.offerings) for offered in GENERIC} == {2 * len(ZONES)}


def test_sizes_are_in_the_planners_units() -> None:
    small = BY_NAME["s-4x-arm64-linux"]
    assert small.capacity == {"cpu": 4000, "memory": 16 * 2**30, "pods": 64, "ephemeral-storage": 20 * 2**30}
    assert small.allocatable["cpu"] == 3900
    assert small.allocatable["memory"] == 16 * 2**30 - 10 * 2**20
    assert BY_NAME["c-256x-amd64-linux"].capacity["pods"] == 1024


def test_spot_is_cheaper_and_larger_is_dearer() -> None:
    prices = {offering.capacity_type: offering.price for offering in BY_NAME["c-1x-amd64-linux"].offerings}
    assert prices["spot"] == pytest.approx(prices["on-demand"] * SPOT_SHARE, abs=1e-4)
    cheapest = {name: min(each.price or 0 for each in offered.offerings) for name, offered in BY_NAME.items()}
    assert cheapest["c-1x-amd64-linux"] < cheapest["s-1x-amd64-linux"] < cheapest["m-2x-amd64-linux"]
    assert cheapest["s-8x-arm64-linux"] < cheapest["s-8x-amd64-linux"]


def test_a_pool_can_ask_for_sizes_by_number() -> None:
    asked = Requirements([Requirement.of("autonodes.io/instance-cpu", "Gte", ["128"])])
    found = {offered.name.split("-")[1] for offered in GENERIC if offered.requirements.compatible(asked)}
    assert found == {"128x", "192x", "256x"}


def test_a_node_shows_what_was_bought() -> None:
    small = BY_NAME["s-4x-arm64-linux"]
    assert node_labels(small, small.offerings[0]) == {
        "node.kubernetes.io/instance-type": "s-4x-arm64-linux",
        "kubernetes.io/arch": "arm64",
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/region": "test-region",
        "topology.kubernetes.io/zone": "test-zone-a",
        "karpenter.sh/capacity-type": "spot",
        "autonodes.io/instance-cpu": "4",
        "autonodes.io/instance-memory": "16384",
    }


def test_the_same_spec_gives_the_same_objects() -> None:
    assert instance_types({"spec": {"zones": ["x"]}}) is instance_types({"metadata": {}, "spec": {"zones": ["x"]}})


def test_a_node_class_may_have_sizes_of_its_own() -> None:
    size = {"name": "tiny", "cpu": "500m", "memory": "1Gi", "price": 0.01, "capacityTypes": ["on-demand"]}
    (tiny,) = instance_types({"spec": {"instanceTypes": [size], "zones": ["here"]}})
    assert tiny.allocatable == {"cpu": 500, "memory": 2**30, "pods": 110, "ephemeral-storage": 20 * 2**30}
    ((zone, capacity_type, price),) = ((each.zone, each.capacity_type, each.price) for each in tiny.offerings)
    assert (zone, capacity_type, price) == ("here", "on-demand", 0.01)


def test_what_is_sold_out_stays_in_the_catalogue() -> None:
    sold_out = [{"zone": "test-zone-a"}, {"instanceType": "s-1x-amd64-linux", "capacityType": "spot"}]
    types = instance_types({"spec": {"soldOut": sold_out}})
    left = {
        offered.name: {(each.zone[-1], each.capacity_type) for each in offered.offerings if each.available}
        for offered in types
    }
    assert len(types) == len(GENERIC)
    assert left["s-1x-amd64-linux"] == {("b", "on-demand"), ("c", "on-demand"), ("d", "on-demand")}
    assert len(left["s-2x-amd64-linux"]) == 6


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ({"instanceTypes": [{"name": "a", "cpu": "1", "memory": "1Gi"}]}, "instanceTypes[0].price: it is required"),
        ({"instanceTypes": [{"name": "a", "cpu": "x", "memory": "1Gi", "price": 1}]}, "instanceTypes[0].cpu"),
        ({"instanceTypes": [{"name": "a", "cpu": "-1", "memory": "1Gi", "price": 1}]}, "can't be negative"),
        ({"instanceTypes": [{"name": "a", "cpu": 1, "memory": "1Gi", "price": 1}] * 2}, "same name"),
        ({"zones": [""]}, "zones[0]"),
    ],
)
def test_a_node_class_that_cannot_be_read_says_why(spec: dict[str, object], hint: str) -> None:
    with pytest.raises(NodeClassNotReadyError) as caught:
        instance_types({"spec": spec})
    assert hint in str(caught.value)
