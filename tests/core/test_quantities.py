import pytest
from hypothesis import given
from hypothesis import strategies as st

from autonodes.core.errors import QuantityError
from autonodes.core.quantities import (
    MAX,
    format_resource,
    format_resources,
    parse_quantity,
    parse_resource,
    parse_resources,
)

READ = [
    ("cpu", "100m", 100),
    ("cpu", "0.1", 100),
    ("cpu", "1.5", 1500),
    ("cpu", 2, 2000),
    ("cpu", 0.5, 500),
    ("cpu", "100u", 1),
    ("cpu", "1500000n", 2),
    ("cpu", "2e-1", 200),
    ("memory", "128974848", 128974848),
    ("memory", "129e6", 129000000),
    ("memory", "129M", 129000000),
    ("memory", "123Mi", 123 * 2**20),
    ("memory", "1.1Gi", 1181116007),
    ("memory", "128974848000m", 128974848),
    ("memory", "1E", 10**18),
    ("memory", "1E3", 1000),
    ("memory", "+1Ki", 1024),
    ("memory", ".5Ki", 512),
    ("memory", "5.", 5),
    ("memory", "0", 0),
    ("nvidia.com/gpu", "2", 2),
    ("pods", 110, 110),
]


@pytest.mark.parametrize(("name", "text", "amount"), READ)
def test_a_quantity_is_read_exactly_and_requests_are_rounded_up(name: str, text: str, amount: int) -> None:
    assert parse_resource(name, text) == amount


@pytest.mark.parametrize(("name", "text", "amount"), [("cpu", "1.5m", 1), ("memory", "1.1Gi", 1181116006)])
def test_capacity_is_rounded_down(name: str, text: str, amount: int) -> None:
    assert parse_resource(name, text, capacity=True) == amount


BAD = [
    "",
    "1GB",
    "1 Gi",
    "abc",
    "1gi",
    "--1",
    "1e",
    "1e1000",
    "0x10",
    "1_000",
    "\u0661",
    "Infinity",
    True,
    None,
    [],
    "1Gi\n",
]


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_what_is_not_a_quantity_is_refused_with_its_path_and_value(text: object) -> None:
    with pytest.raises(QuantityError) as caught:
        parse_resources({"memory": text}, path="spec.limits")  # type: ignore[dict-item]
    assert caught.value.path == "spec.limits.memory"
    assert caught.value.value == text
    assert "such as" in str(caught.value)


@pytest.mark.parametrize(("text", "meant"), [("1GB", "1G"), ("2gib", "2Gi"), ("5 mi", "5Mi"), ("1KB", "1k")])
def test_a_near_miss_is_answered_with_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(QuantityError, match=f"did you mean {meant}\\?"):
        parse_resource("memory", text)


def test_negative_and_boundless_amounts_are_refused() -> None:
    with pytest.raises(QuantityError, match="can't be negative"):
        parse_resource("cpu", "-1")
    with pytest.raises(QuantityError, match="greatest amount"):
        parse_resource("memory", "9223372036854775808")
    assert parse_resource("memory", str(MAX)) == MAX


def test_a_plain_quantity_keeps_its_sign_and_fraction() -> None:
    assert parse_quantity("-2.5Ki") == -2560


@pytest.mark.parametrize(
    ("name", "amount", "text"),
    [
        ("cpu", 1500, "1500m"),
        ("cpu", 2000, "2"),
        ("memory", 4 * 2**30, "4Gi"),
        ("memory", 1000, "1000"),
        ("memory", 0, "0"),
        ("ephemeral-storage", 2**20, "1Mi"),
        ("hugepages-2Mi", 2**21, "2Mi"),
        ("pods", 1024, "1024"),
    ],
)
def test_amounts_are_written_as_a_person_would(name: str, amount: int, text: str) -> None:
    assert format_resource(name, amount) == text


def test_resources_are_written_in_the_order_of_their_names() -> None:
    assert list(format_resources({"memory": 1, "cpu": 1})) == ["cpu", "memory"]


@given(st.sampled_from(["cpu", "memory", "pods", "nvidia.com/gpu"]), st.integers(0, 2**62))
def test_what_is_written_reads_back_the_same(name: str, amount: int) -> None:
    if name == "cpu":
        amount %= MAX // 1000
    assert parse_resource(name, format_resource(name, amount)) == amount
    assert parse_resource(name, format_resource(name, amount), capacity=True) == amount


@given(st.decimals(0, 10**6, places=6), st.sampled_from(["", "m", "k", "Ki", "Mi", "G"]))
def test_rounding_up_and_down_differ_by_at_most_one(number: object, suffix: str) -> None:
    text = f"{number}{suffix}"
    down, up = parse_resource("memory", text, capacity=True), parse_resource("memory", text)
    assert down <= parse_quantity(text) <= up <= down + 1
