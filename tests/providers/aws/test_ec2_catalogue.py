"""Facts are from AWS's own pages: instance types, prices of us-east-1, and eni-max-pods.txt of the images for EKS."""

from __future__ import annotations

import math

import pytest

from autonodes.core.errors import ConfigError
from autonodes.core.model import InstanceType, Offering
from autonodes.core.planner import plan
from core.parts import pod, snapshot
from providers.aws.catalogue import catalogue, origin

_MIB = 2**20


def _type(name: str, region: str = "us-east-1") -> InstanceType:
    return next(each for each in catalogue(region) if each.name == name)


def _price(name: str, region: str = "us-east-1") -> float | None:
    (price,) = {offering.price for offering in _type(name, region).offerings}
    return price


@pytest.mark.parametrize(
    ("name", "price"),
    [("m5.large", 0.096), ("c6i.xlarge", 0.17), ("g4dn.xlarge", 0.526), ("p5.48xlarge", 98.32), ("t3.micro", 0.0104)],
)
def test_prices_are_those_that_aws_lists(name: str, price: float) -> None:
    assert _price(name) == price


@pytest.mark.parametrize(
    ("name", "price"), [("c7a.24xlarge", 4.92672), ("p4d.24xlarge", 32.7726), ("g5.48xlarge", 16.288)]
)
def test_a_dedicated_hosts_price_is_not_taken_for_the_shared_one(name: str, price: float) -> None:
    assert _price(name) == pytest.approx(price, rel=1e-3)


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "ca-west-1"])
def test_many_types_have_a_price_and_none_is_zero(region: str) -> None:
    prices = [offering.price for each in catalogue(region) for offering in each.offerings]
    known = [price for price in prices if price is not None]
    assert len(known) > 200
    assert min(known) > 0


def test_a_type_without_a_price_is_listed_and_never_bought() -> None:
    unpriced = _type("p6-b200.48xlarge", "us-west-2")
    assert {offering.price for offering in unpriced.offerings} == {None}
    found = plan(snapshot([pod("a", gpu=8)], types=[unpriced]))
    assert not found.purchases
    ((reason,),) = found.unplaced.values()
    assert "no price is known" in reason.text


def test_labels_are_those_of_karpenters_provider() -> None:
    found = _type("g5.2xlarge").requirements.labels()
    shown = {key.removeprefix("karpenter.k8s.aws/instance-"): value for key, value in found.items()}
    assert shown == {
        "node.kubernetes.io/instance-type": "g5.2xlarge",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/region": "us-east-1",
        "category": "g",
        "family": "g5",
        "generation": "5",
        "size": "2xlarge",
        "cpu": "8",
        "cpu-manufacturer": "amd",
        "memory": "32768",
        "hypervisor": "nitro",
        "encryption-in-transit-supported": "true",
        "network-bandwidth": "5000",
        "ebs-bandwidth": "3500",
        "local-nvme": "450",
        "gpu-name": "a10g",
        "gpu-manufacturer": "nvidia",
        "gpu-count": "1",
        "gpu-memory": "22888",
    }


@pytest.mark.parametrize(("name", "category", "generation"), [("c7gn.large", "c", "7"), ("u-6tb1.56xlarge", "u", "1")])
def test_categories_and_generations_are_read_from_the_name(name: str, category: str, generation: str) -> None:
    found = _type(name).requirements.labels()
    assert found["karpenter.k8s.aws/instance-category"] == category
    assert found["karpenter.k8s.aws/instance-generation"] == generation


@pytest.mark.parametrize(
    ("name", "pods"), [("m5.large", 29), ("t3.micro", 4), ("m5.24xlarge", 737), ("c7g.medium", 8), ("g4dn.xlarge", 29)]
)
def test_pods_are_as_many_as_the_network_interfaces_have_addresses(name: str, pods: int) -> None:
    assert _type(name).capacity["pods"] == pods


def test_capacity_is_what_the_kubelet_would_show() -> None:
    machine = _type("p4d.24xlarge")
    assert machine.capacity == {
        "cpu": 96000,
        "memory": math.floor(1179648 * _MIB * 0.925),
        "ephemeral-storage": 20 * 2**30,
        "pods": 737,
        "nvidia.com/gpu": 8,
        "vpc.amazonaws.com/efa": 4,
    }


@pytest.mark.parametrize(("name", "reserved"), [("t3.micro", 70), ("m5.xlarge", 80), ("m5.2xlarge", 90)])
def test_the_kubelet_keeps_what_the_images_for_eks_tell_it_to(name: str, reserved: int) -> None:
    machine = _type(name)
    assert machine.overhead["cpu"] == reserved
    assert machine.overhead["memory"] == (255 + 11 * machine.capacity["pods"] + 100) * _MIB


def test_each_zone_of_the_region_has_an_offering_on_demand_and_none_as_spot() -> None:
    assert _type("m5.large").offerings == tuple(
        Offering(zone=f"us-east-1{letter}", capacity_type="on-demand", price=0.096) for letter in "abcdf"
    )


def test_an_unknown_region_is_named_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"region: 'mars-1': .*us-east-1"):
        catalogue("mars-1")


def test_the_table_says_when_it_was_made_from_what() -> None:
    assert origin().date >= "2025-01-01"
    assert [package.split()[0] for package in origin().packages] == ["apache-libcloud", "moto"]
