"""Dollars as a limit: how they are written, counted and shown."""

from __future__ import annotations

import math

import pytest

from autonodes.core.errors import ConfigError
from autonodes.core.labels import MAX_HOURLY_COST, MAX_MONTHLY_COST
from autonodes.core.money import COST, annotated_limit, cost_limit, dollars, microdollars


def test_a_price_is_rounded_up_and_a_limit_down() -> None:
    assert microdollars(0.0000001) == 1
    assert microdollars(0.1) == 100_000
    assert cost_limit(0.1, None) == {COST: 100_000}
    assert cost_limit(None, 1) == {COST: 1_369}


def test_no_limit_allows_what_has_no_price() -> None:
    assert microdollars(math.inf) >= cost_limit(1e9, None)[COST]


def test_the_smaller_of_both_limits_holds() -> None:
    assert cost_limit(1.0, 730.0) == cost_limit(1.0, 7300.0) == cost_limit(2.0, 730.0) == {COST: 1_000_000}
    assert cost_limit(None, None) == {}


def test_annotations_set_it() -> None:
    assert annotated_limit({MAX_HOURLY_COST: "12.50", "other": "x"}) == {COST: 12_500_000}
    assert annotated_limit({MAX_HOURLY_COST: "12.50", MAX_MONTHLY_COST: "730"}) == {COST: 1_000_000}
    assert annotated_limit({}) == {}


@pytest.mark.parametrize("text", ["", "$5", "5 USD", "-1", "nan", "inf", "1e12", "a few"])
def test_what_is_not_a_number_of_dollars_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        annotated_limit({MAX_MONTHLY_COST: text})
    assert "metadata.annotations[autonodes.io/max-monthly-cost]" in str(caught.value)
    assert "dollars" in str(caught.value)


def test_it_is_shown_to_the_cent_where_that_is_exact() -> None:
    assert dollars(12_500_000) == "$12.50"
    assert dollars(1_369) == "$0.0014"
