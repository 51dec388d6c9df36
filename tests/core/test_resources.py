import pytest

from autonodes.core.resources import add, capacity_for, fits, greatest, least, subtract, times


def test_a_missing_name_is_nothing() -> None:
    assert add({"cpu": 1}, {"memory": 2}, {"cpu": 3}) == {"cpu": 4, "memory": 2}
    assert subtract({"cpu": 1, "memory": 5}, {"cpu": 3, "pods": 1}) == {"cpu": -2, "memory": 5}
    assert greatest([{"cpu": 1, "gpu": 0}, {"cpu": 3, "memory": 2}]) == {"cpu": 3, "memory": 2}
    assert least([{"cpu": 1, "gpu": 4}, {"cpu": 3}]) == {"cpu": 1}
    assert least([]) == add() == {}
    assert times({"cpu": 2}, 3) == {"cpu": 6}


@pytest.mark.parametrize(
    ("request_", "room", "fitting"),
    [
        ({"cpu": 2}, {"cpu": 2}, True),
        ({"cpu": 3}, {"cpu": 2}, False),
        ({"gpu": 1}, {"cpu": 2}, False),
        ({"gpu": 0, "cpu": 1}, {"cpu": 2}, True),
        ({"cpu": 1}, {"cpu": 2, "memory": -1}, True),
        ({}, {"cpu": -1}, True),
    ],
)
def test_only_what_is_requested_must_fit(request_: dict[str, int], room: dict[str, int], fitting: bool) -> None:
    assert fits(request_, room) == fitting


def test_capacity_counts_equal_requests() -> None:
    assert capacity_for({"cpu": 2, "memory": 1}, {"cpu": 7, "memory": 2}) == 2
    assert capacity_for({"cpu": 2}, {"cpu": -7}) == 0
    assert capacity_for({}, {"cpu": 7}) is None
