"""What overlays make of prices and capacity, and which of them contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from autonodes.core.labels import ARCH, CAPACITY_TYPE, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.model import InstanceType
from autonodes.core.overlays import Overlay, contradictions, overlaid
from core.parts import machine, pool, requirements

FUSE = "smarter-devices/fuse"
TYPES = (
    machine("a", f"{ARCH} In amd64", price=1.0, zones=("z1", "z2"), capacity_types=("spot", "on-demand")),
    machine("b", f"{ARCH} In arm64", price=2.0),
)
POOL = pool("default", labels={"team": "x"})


def overlay(name: str, *lines: str, **fields: Any) -> Overlay:
    return Overlay(name=name, requirements=requirements(*lines), **fields)


def prices(*overlays: Overlay, types: tuple[InstanceType, ...] = TYPES) -> list[list[float | None]]:
    return [[offering.price for offering in each.offerings] for each in overlaid(overlays, POOL, types)]


MATCHES: list[tuple[tuple[str, ...], list[list[float]]]] = [
    ((), [[9, 9, 9, 9], [9]]),
    ((f"{INSTANCE_TYPE} In a",), [[9, 9, 9, 9], [2]]),
    ((f"{ARCH} In arm64",), [[1, 1, 1, 1], [9]]),
    ((f"{ARCH} NotIn arm64",), [[9, 9, 9, 9], [2]]),
    ((f"{ZONE} In z2",), [[1, 1, 9, 9], [2]]),
    ((f"{CAPACITY_TYPE} In spot", f"{ZONE} In z1"), [[9, 1, 1, 1], [2]]),
    ((f"{NODE_POOL} In default",), [[9, 9, 9, 9], [9]]),
    ((f"{NODE_POOL} In other",), [[1, 1, 1, 1], [2]]),
    (("team In x",), [[9, 9, 9, 9], [9]]),
    (("team In y",), [[1, 1, 1, 1], [2]]),
    (("unknown Exists",), [[1, 1, 1, 1], [2]]),
    (("unknown DoesNotExist",), [[9, 9, 9, 9], [9]]),
]


@pytest.mark.parametrize(("lines", "expected"), MATCHES, ids=str)
def test_an_overlay_changes_the_offerings_that_meet_its_requirements(
    lines: tuple[str, ...], expected: list[list[float]]
) -> None:
    assert prices(overlay("o", *lines, price=9.0)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"price": 0.0}, 0.0),
        ({"percent": 10.0}, 2.2),
        ({"percent": -100.0}, 0.0),
        ({"surcharge": 0.5}, 2.5),
        ({"surcharge": -5.0}, 0.0),
    ],
)
def test_a_price_is_replaced_or_adjusted_but_never_negative(change: dict[str, float], expected: float) -> None:
    ((price,),) = prices(overlay("o", **change), types=TYPES[1:])
    assert price == pytest.approx(expected)


def test_an_unknown_price_can_be_given_but_not_adjusted() -> None:
    unknown = (machine("c", price=None),)
    assert prices(overlay("o", percent=10.0), types=unknown) == [[None]]
    assert prices(overlay("o", price=3.0), types=unknown) == [[3.0]]


def test_capacity_is_added_to_what_the_provider_knows() -> None:
    (first, second) = overlaid([overlay("o", f"{INSTANCE_TYPE} In a", capacity={FUSE: 2})], POOL, TYPES)
    assert first.allocatable == {**TYPES[0].allocatable, FUSE: 2}
    assert second is TYPES[1]


def test_the_greatest_weight_wins() -> None:
    heavy, light = overlay("a", price=5.0, weight=10), overlay("b", price=7.0, weight=1)
    assert prices(light, heavy, types=TYPES[1:]) == [[5.0]]
    assert contradictions([light, heavy], [POOL], {"default": TYPES}) == {}


def test_overlays_of_different_weight_add_up_where_they_change_different_things() -> None:
    first = overlay("a", capacity={FUSE: 2, "x.com/y": 1}, weight=10)
    second = overlay("b", capacity={FUSE: 9, "x.com/z": 1}, weight=1, price=4.0)
    (found,) = overlaid([first, second], POOL, TYPES[1:])
    assert {name: found.capacity[name] for name in (FUSE, "x.com/y", "x.com/z")} == {
        FUSE: 2,
        "x.com/y": 1,
        "x.com/z": 1,
    }
    assert found.offerings[0].price == 4.0


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        ({"price": 1.0}, {"percent": 5.0}, True),
        ({"capacity": {FUSE: 1}}, {"capacity": {FUSE: 2}}, True),
        ({"capacity": {FUSE: 1}}, {"capacity": {"x.com/y": 2}}, False),
        ({"price": 1.0}, {"capacity": {FUSE: 2}}, False),
        ({"price": 1.0, "weight": 2}, {"price": 2.0}, False),
    ],
    ids=str,
)
def test_equal_weights_contradict_each_other_where_they_change_the_same(
    one: dict[str, Any], other: dict[str, Any], refused: bool
) -> None:
    found = contradictions([overlay("a", **one), overlay("b", **other)], [POOL], {"default": TYPES})
    assert found == ({"a": "b"} if refused else {})


def test_overlays_of_different_machines_don_t_contradict_each_other() -> None:
    overlays = [overlay("a", f"{INSTANCE_TYPE} In a", price=1.0), overlay("b", f"{INSTANCE_TYPE} In b", price=1.0)]
    assert contradictions(overlays, [POOL], {"default": TYPES}) == {}


def test_one_contradiction_in_any_pool_is_enough() -> None:
    pools = [POOL, pool("second")]
    overlays = [overlay("a", price=1.0), overlay("b", f"{NODE_POOL} In second", price=1.0)]
    assert contradictions(overlays, pools, {"default": TYPES, "second": TYPES}) == {"a": "b"}
