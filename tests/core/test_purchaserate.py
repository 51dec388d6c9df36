"""How fast a pool may buy."""

from __future__ import annotations

import pytest

from autonodes.core.purchaserate import PurchaseRate, of_pool

RATE = PurchaseRate(burst=3, per_minute=6)


def test_so_many_at_once_and_then_so_many_a_minute() -> None:
    bucket = RATE.after([])
    assert [RATE.take(bucket, 100.0) for _ in range(5)] == [True, True, True, False, False]
    assert [RATE.take(bucket, 100.0 + seconds) for seconds in (5.0, 10.0, 15.0, 20.0)] == [False, True, False, True]
    assert [RATE.take(bucket, 10_000.0) for _ in range(4)] == [True, True, True, False]


def test_a_process_that_starts_counts_what_is_there() -> None:
    bucket = RATE.after([95.0, 96.0, 10.0])
    assert [RATE.take(bucket, 100.0) for _ in range(2)] == [True, False]


def test_a_clock_that_jumps_back_gives_nothing_away() -> None:
    bucket = RATE.after([100.0] * 3)
    assert not RATE.take(bucket, 50.0)
    assert not RATE.take(bucket, 51.0)


def test_a_pool_says_otherwise_by_annotations() -> None:
    chosen, faults = of_pool({"autonodes.io/purchase-burst": "7", "autonodes.io/purchases-per-minute": "1"}, RATE)
    assert (chosen, faults) == (PurchaseRate(burst=7, per_minute=1), ())


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "many", "٣"])
def test_what_is_no_number_is_told_and_counts_as_none(text: str) -> None:
    chosen, (fault,) = of_pool({"autonodes.io/purchase-burst": text}, RATE)
    assert chosen == RATE
    assert "autonodes.io/purchase-burst" in str(fault)
    assert "whole number" in str(fault)
