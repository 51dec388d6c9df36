import math

from autonodes.core.bitsets import Thresholds, bits, lowest, union
from autonodes.core.catalog import build_catalog
from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE, ZONE
from autonodes.core.model import Taint
from core.parts import daemonset, machine, pool, requirements, snapshot

TYPES = (
    machine("b", cpu=4, price=0.2, zones=("z1", "z2"), capacity_types=("on-demand", "spot")),
    machine("a", cpu=2, price=0.2, zones=("z2",)),
    machine("c", "os In linux windows", cpu=8, price=None, zones=("",)),
)


def test_rows_are_in_the_order_of_price_then_names() -> None:
    rows = build_catalog(snapshot(types=TYPES)).rows
    assert [(row.type.name, row.offering.zone, row.offering.capacity_type) for row in rows] == [
        ("a", "z2", "on-demand"),
        ("b", "z1", "on-demand"),
        ("b", "z1", "spot"),
        ("b", "z2", "on-demand"),
        ("b", "z2", "spot"),
        ("c", "", "on-demand"),
    ]
    assert rows[-1].price == math.inf


def test_masks_answer_what_suits() -> None:
    catalog = build_catalog(snapshot(types=TYPES))
    assert catalog.buyable == 0b011111
    assert catalog.with_room({"cpu": 3000}) == 0b111110
    assert catalog.with_room({"cpu": 99000}) == 0
    assert catalog.labels.satisfying("default", requirements(f"{ZONE} In z1")) == 0b100110  # c's zone is not known
    assert catalog.labels.satisfying("default", requirements(f"{INSTANCE_TYPE} NotIn b")) == 0b100001
    assert catalog.labels.satisfying("other", requirements()) == 0
    assert catalog.allowed_by({"cpu": 3000}) == 0b000001


def test_what_a_row_does_not_decide_stays_open() -> None:
    labels = build_catalog(snapshot(types=TYPES, pools=[pool("default", "team In a b")])).labels
    asked = requirements("os In linux", "team In a", f"{ZONE} In z1", "unknown DoesNotExist")
    assert labels.undecided("default", asked) == requirements("os In linux", "team In a", "unknown DoesNotExist")


def test_the_pool_s_requirements_keep_offerings_out() -> None:
    catalog = build_catalog(snapshot(types=TYPES, pools=[pool("default", f"{CAPACITY_TYPE} In spot", f"{ZONE} In z1")]))
    assert [(row.offering.zone, row.offering.capacity_type) for row in catalog.rows] == [("z1", "spot")]


def test_daemons_take_room_only_where_they_may_run() -> None:
    tainted = pool("default", taints=(Taint("gpu"),))
    in_zone = daemonset("zonal", f"{ZONE} In z1", cpu=1)
    rows = build_catalog(snapshot(types=TYPES[:1], daemonsets=[in_zone])).rows
    assert [row.room["cpu"] for row in rows] == [3000, 3000, 4000, 4000]
    rows = build_catalog(snapshot(types=TYPES[:1], pools=[tainted], daemonsets=[in_zone])).rows
    assert {row.room["cpu"] for row in rows} == {4000}


def test_a_catalogue_is_made_again_only_if_something_in_it_changed() -> None:
    first = build_catalog(snapshot(types=TYPES))
    assert build_catalog(snapshot(types=TYPES, now=2000.0)) is first
    assert build_catalog(snapshot(types=TYPES[:1])) is not first


def test_bits_and_thresholds() -> None:
    assert lowest(0b1100) == 2
    assert list(bits(0b1101)) == [0, 2, 3]
    assert union([1, 4]) == 5
    thresholds = Thresholds([5, 1, 3, 5])
    assert [thresholds.at_least(amount) for amount in (0, 1, 2, 4, 6)] == [0b1111, 0b1111, 0b1101, 0b1001, 0]
