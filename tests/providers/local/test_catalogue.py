from __future__ import annotations

from typing import Any

import pytest

from autonodes.core import labels
from autonodes.provider import NodeClassNotReadyError
from providers.local import catalogue
from providers.local.host import Size

GIB = 2**30
HOST = Size(cpu=4000, memory=16 * GIB, disk=100 * GIB)
SMALL_HOST = Size(cpu=2000, memory=24 * GIB, disk=100 * GIB)


def node_class(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "default"}, "spec": spec}


def test_without_types_of_its_own_a_class_offers_what_this_host_can_show() -> None:
    names = [each.name for each in catalogue.instance_types(node_class(), SMALL_HOST, free_memory=24 * GIB)]
    assert names == ["local.small", "local.medium", "local.large"]


def test_larger_types_cost_more() -> None:
    prices = [shape.price or 0 for shape in catalogue.shapes(node_class(), HOST)]
    assert prices == sorted(prices)
    assert len(set(prices)) == len(prices)


def test_every_type_is_offered_in_every_zone_on_demand() -> None:
    first, *_ = catalogue.instance_types(node_class(zones=["a", "b"]), HOST, free_memory=16 * GIB)
    assert [(each.zone, each.capacity_type) for each in first.offerings] == [("a", "on-demand"), ("b", "on-demand")]
    assert first.requirements[labels.ZONE].values == {"a", "b"}
    assert first.requirements[labels.INSTANCE_TYPE].values == {"local.small"}


def test_what_does_not_fit_now_is_listed_as_unavailable() -> None:
    types = catalogue.instance_types(node_class(), HOST, free_memory=2 * GIB)
    available = {each.name: each.offerings[0].available for each in types}
    assert available == {"local.small": True, "local.medium": True, "local.large": False, "local.xlarge": False}


def test_a_type_larger_than_this_host_is_listed_as_unavailable() -> None:
    wide = {"name": "wide", "cpu": "64", "memory": "1Gi", "price": 1}
    (only,) = catalogue.instance_types(node_class(instanceTypes=[wide]), HOST, free_memory=16 * GIB)
    assert not only.offerings[0].available


def test_a_class_can_have_types_of_its_own() -> None:
    own = [{"name": "tiny", "cpu": "500m", "memory": "256Mi", "pods": 8, "price": 0.5}]
    (shape,) = catalogue.shapes(node_class(instanceTypes=own), HOST)
    assert shape == catalogue.Shape(name="tiny", cpu=500, memory=256 * 2**20, pods=8, price=0.5)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{"name": "a", "cpu": "x", "memory": "1Gi"}], r"spec\.instanceTypes\[0\]\.cpu"),
        ([{"name": "a", "cpu": "1"}], r"spec\.instanceTypes\[0\]\.memory"),
        ([{"name": "a", "cpu": "1", "memory": "1Gi"}] * 2, "same name"),
    ],
)
def test_a_type_that_makes_no_sense_is_named(entries: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(NodeClassNotReadyError, match=said):
        catalogue.shapes(node_class(instanceTypes=entries), HOST)


def test_a_type_without_a_price_has_offerings_without_one() -> None:
    unpriced = {"name": "a", "cpu": "1", "memory": "1Gi"}
    (only,) = catalogue.instance_types(node_class(instanceTypes=[unpriced]), HOST, free_memory=16 * GIB)
    assert only.offerings[0].price is None


def test_the_kubelet_is_told_to_hide_all_but_the_size() -> None:
    reserved = catalogue.system_reserved(1000, GIB, HOST)
    assert reserved["cpu"] == "3000m"
    assert HOST.memory - int(reserved["memory"]) - catalogue.MEMORY_EVICTION == GIB


def test_only_what_all_machines_have_in_common_is_in_the_hash() -> None:
    assert catalogue.static_hash(node_class()) == catalogue.static_hash(node_class(zones=["x"], instanceTypes=[]))
    assert catalogue.static_hash(node_class()) != catalogue.static_hash(node_class(kubelet={"maxPods": 5}))
