import pytest
from hypothesis import given
from hypothesis import strategies as st

from autonodes.core.durations import format_duration, parse_duration
from autonodes.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("720h", 2592000.0),
        ("1.5h", 5400.0),
        ("1h2m3s", 3723.0),
        ("100ms", 0.1),
        ("5us", 5e-6),
        ("0", 0.0),
        ("0s", 0.0),
        ("-1m", -60.0),
        ("Never", None),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "1h30", "m", "1 h", "never", "1d", "1h-30m", "\u0663s", 5])
def test_what_is_not_a_duration_is_refused_with_its_path_and_value(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_duration(text, path="spec.disruption.consolidateAfter")
    assert caught.value.path == "spec.disruption.consolidateAfter"
    assert caught.value.value == text


def test_days_are_answered_with_hours() -> None:
    with pytest.raises(ConfigError, match="write 720h"):
        parse_duration("30d")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "Never"), (0.0, "0s"), (90.0, "1m30s"), (5400.0, "1h30m"), (1.5, "1.5s"), (-60.0, "-1m"), (86400.0, "24h")],
)
def test_a_duration_is_written_as_a_person_would(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(-(10**9), 10**9).map(lambda thousandths: thousandths / 1000))
def test_what_is_written_reads_back_the_same(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds
