from dataclasses import replace
from typing import Any

import pytest

from autonodes.controllers.candidates import candidates
from autonodes.core.labels import ARCH, CAPACITY_TYPE, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.requirements import Requirement, Requirements
from autonodes.verify.cloud import SIZES, size

GIB = 2**30


def names(requirements: list[tuple[str, str, list[str]]], types: Any = SIZES, **requests: int) -> list[tuple[str, str]]:
    wanted = Requirements(Requirement.of(*each) for each in requirements)
    return [(type_.name, offering.zone) for type_, offering in candidates(wanted, requests, types)]


def test_the_cheapest_comes_first_and_equal_prices_go_by_name_and_zone() -> None:
    twin = size("a-twin-of-medium", 4)
    assert names([], (*SIZES, twin)) == [
        ("small", "a"),
        ("small", "b"),
        ("a-twin-of-medium", "a"),
        ("a-twin-of-medium", "b"),
        ("medium", "a"),
        ("medium", "b"),
        ("large", "a"),
        ("large", "b"),
    ]


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ((INSTANCE_TYPE, "In", ["medium"]), [("medium", "a"), ("medium", "b")]),
        ((INSTANCE_TYPE, "NotIn", ["small", "medium"]), [("large", "a"), ("large", "b")]),
        ((ZONE, "In", ["b"]), [("small", "b"), ("medium", "b"), ("large", "b")]),
        ((CAPACITY_TYPE, "In", ["spot"]), []),
        ((ARCH, "In", ["arm64"]), []),
        ((NODE_POOL, "In", ["default"]), names([])),
        (("team.example.com/name", "In", ["a"]), names([])),
    ],
)
def test_each_requirement_counts_where_it_is_decided(
    requirement: tuple[str, str, list[str]], expected: list[tuple[str, str]]
) -> None:
    assert names([requirement]) == expected


def test_a_label_that_some_types_define_rules_out_the_others() -> None:
    fast = replace(size("fast", 2), requirements=Requirements.from_labels({"cloud.example.com/disk": "nvme"}))
    assert names([("cloud.example.com/disk", "In", ["nvme"])], (*SIZES, fast)) == [("fast", "a"), ("fast", "b")]


def test_what_is_too_small_sold_out_or_without_a_price_is_left_out() -> None:
    small, medium, large = SIZES
    gone = replace(medium, offerings=tuple(replace(each, available=False) for each in medium.offerings))
    used_up = replace(medium, offerings=tuple(replace(each, count=0) for each in medium.offerings))
    priceless = replace(large, offerings=tuple(replace(each, price=None) for each in large.offerings))
    assert names([], (small, used_up, priceless), cpu=1000) == [("small", "a"), ("small", "b")]
    assert names([], (small, gone, priceless), cpu=1000) == [("small", "a"), ("small", "b")]
    assert names([], SIZES, cpu=1901) == [("medium", "a"), ("medium", "b"), ("large", "a"), ("large", "b")]
    assert names([], SIZES, cpu=100, memory=100 * GIB) == []
