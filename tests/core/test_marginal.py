import pytest
from hypothesis import given
from hypothesis import strategies as st

from autonodes.core.marginal import marginal_prices


def test_one_machine_is_paid_by_the_scarce_resource() -> None:
    assert marginal_prices([100, 10], [(2.0, (10, 10))]) == pytest.approx((0.2, 0.0))


def test_two_machines_price_two_resources() -> None:
    """8x + 2y and 2x + 8y for $1 each, equal demand: a unit of either is worth $0.1."""
    assert marginal_prices([100, 100], [(1.0, (8, 2)), (1.0, (2, 8))]) == pytest.approx((0.1, 0.1))


def test_what_nobody_asks_for_is_worth_nothing() -> None:
    assert marginal_prices([10, 0], [(1.0, (10, 5)), (9.0, (10, 50))]) == pytest.approx((0.1, 0.0))


machines = st.lists(st.tuples(st.floats(0.01, 100), st.tuples(*[st.integers(0, 1000)] * 3)), min_size=1, max_size=12)


@given(st.tuples(*[st.integers(0, 10**6)] * 3), machines)
def test_no_machine_is_worth_more_than_it_costs(
    demand: tuple[int, ...], on_sale: list[tuple[float, tuple[int, ...]]]
) -> None:
    prices = marginal_prices(demand, on_sale)
    assert all(price >= 0 for price in prices)
    for cost, room in on_sale:
        assert sum(price * size for price, size in zip(prices, room, strict=True)) <= cost * (1 + 1e-6)


@given(st.tuples(*[st.integers(1, 10**6)] * 2), machines)
def test_the_demand_is_worth_no_more_than_buying_enough_of_any_one_machine(
    demand: tuple[int, ...], on_sale: list[tuple[float, tuple[int, ...]]]
) -> None:
    prices = marginal_prices(demand, on_sale)
    worth = sum(price * amount for price, amount in zip(prices, demand, strict=True))
    for cost, room in on_sale:
        if all(room[: len(demand)]):
            enough = max(amount / size for amount, size in zip(demand, room, strict=False))
            assert worth <= cost * enough * (1 + 1e-6)
