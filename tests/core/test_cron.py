import datetime as dt

import pytest

from autonodes.core.cron import Schedule
from autonodes.core.errors import ScheduleError


def at(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    ("schedule", "after", "hit"),
    [
        ("* * * * *", "2026-01-01T00:00:00", "2026-01-01T00:01:00"),
        ("* * * * *", "2026-01-01T00:00:59", "2026-01-01T00:01:00"),
        ("*/15 * * * *", "2026-01-01T00:50:00", "2026-01-01T01:00:00"),
        ("10/20 * * * *", "2026-01-01T00:31:00", "2026-01-01T00:50:00"),
        ("0 9 * * mon-fri", "2026-01-02T09:00:00", "2026-01-05T09:00:00"),
        ("0 9 * * 1-5", "2026-01-02T08:59:59", "2026-01-02T09:00:00"),
        ("@daily", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("@midnight", "2026-01-01T12:00:00", "2026-01-02T00:00:00"),
        ("@hourly", "2026-01-01T12:00:00", "2026-01-01T13:00:00"),
        ("@weekly", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("@monthly", "2026-01-01T00:00:00", "2026-02-01T00:00:00"),
        ("@annually", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("0 0 29 feb *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("30 23 31 12 ?", "2026-12-31T23:30:00", "2027-12-31T23:30:00"),
        ("0 0 13 * 5", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("0 0 */10 * 5", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("0 0 */1 * 5", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("0 0 1 * 1,?", "2026-01-02T00:00:00", "2026-02-01T00:00:00"),
    ],
)
def test_the_next_hit_is_the_first_one_strictly_later(schedule: str, after: str, hit: str) -> None:
    assert Schedule.parse(schedule).next_after(at(after)) == at(hit)


def test_a_date_that_never_comes_has_no_hit() -> None:
    assert Schedule.parse("0 0 31 2 *").next_after(at("2026-01-01T00:00:00")) is None


def test_the_leap_day_is_found_across_a_century_without_one() -> None:
    assert Schedule.parse("0 0 29 2 *").next_after(at("2096-03-01T00:00:00")) == at("2104-02-29T00:00:00")


@pytest.mark.parametrize(
    ("schedule", "named"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@fortnightly", "@weekly"),
        ("60 * * * *", "minute '60' is not within 0-59"),
        ("* 5-3 * * *", "hour '5-3'"),
        ("* * 0 * *", "day of month '0'"),
        ("* * * foo *", "month 'foo' is not a number or one of jan"),
        ("* * * * 7", "day of week '7'"),
        ("*/0 * * * *", "minute '\\*/0'"),
        ("*-5 * * * *", "minute '\\*' is not a number"),
        ("1,,2 * * * *", "minute '' is not a number"),
    ],
)
def test_a_bad_schedule_is_refused_and_the_field_named(schedule: str, named: str) -> None:
    with pytest.raises(ScheduleError, match=named):
        Schedule.parse(schedule)
