"""Cron schedules of disruption budgets: when does one hit next?

The five fields and the ``@`` names that Kubernetes' CronJob and Karpenter take (robfig/cron's standard parser),
always in UTC. Day of month and day of week are OR-ed when both are restricted, AND-ed when either has a bare ``*`` or
``?``. Days and months may be named (``mon``, ``jan``); ranges and steps are ``1-5``, ``*/15`` and ``10/20`` (from 10
on). Sunday is 0.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final, NamedTuple

from autonodes.core.errors import ScheduleError

_NAMED: Final = {
    "@annually": "0 0 1 1 *",
    "@yearly": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _WEEKDAYS),
)
_HORIZON_DAYS: Final = 366 * 8 + 1
"""29 February comes at least every eight years (1896, 1904); what does not hit by then never does."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A parsed schedule: the values that each field allows.

    :param both: a day must fit day of month and day of week; else one of the two is enough
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both: bool

    @classmethod
    def parse(cls, text: str, *, path: str = "schedule") -> Schedule:
        """:raises ScheduleError: names the field that is wrong; ``path`` says where the schedule stood"""
        words = _NAMED.get(text, text).split()
        if len(words) != len(_FIELDS):
            forms = f"five fields (minute hour day month weekday) or one of {', '.join(_NAMED)}"
            raise ScheduleError(path, text, f"write {forms}")
        try:
            sets = [_values(word, field) for word, field in zip(words, _FIELDS, strict=True)]
        except ValueError as error:
            raise ScheduleError(path, text, str(error)) from None
        minutes, hours, days, months, weekdays = sets
        return cls(minutes, hours, days, months, weekdays, both=_unrestricted(words[2]) or _unrestricted(words[4]))

    def next_after(self, moment: float) -> float | None:
        """The first hit strictly after ``moment``, both in seconds since the epoch; None if it never hits again."""
        now = dt.datetime.fromtimestamp(moment, dt.UTC).replace(second=0, microsecond=0)
        start = now + dt.timedelta(minutes=1)
        for offset in range(_HORIZON_DAYS):
            day = start.date() + dt.timedelta(days=offset)
            if not self._on(day):
                continue
            hit = self._first_time((start.hour, start.minute) if offset == 0 else (0, 0))
            if hit is not None:
                return dt.datetime(day.year, day.month, day.day, *hit, tzinfo=dt.UTC).timestamp()
        return None

    def _on(self, day: dt.date) -> bool:
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_day and by_weekday) if self.both else (by_day or by_weekday)

    def _first_time(self, earliest: tuple[int, int]) -> tuple[int, int] | None:
        times = ((hour, minute) for hour in sorted(self.hours) for minute in sorted(self.minutes))
        return next((time for time in times if time >= earliest), None)


def _unrestricted(word: str) -> bool:
    return any(part in ("*", "?", "*/1", "?/1") for part in word.split(","))


def _values(word: str, field: _Field) -> frozenset[int]:
    return frozenset().union(*(_range(part, field) for part in word.split(",")))


def _range(part: str, field: _Field) -> range:
    span, slash, step_text = part.partition("/")
    step = _number(step_text, field.name) if slash else 1
    first, last = (field.low, field.high) if span in ("*", "?") else _span(span, field, open_ended=bool(slash))
    if not field.low <= first <= last <= field.high or step < 1:
        raise ValueError(f"the {field.name} {part!r} is not within {field.low}-{field.high}")
    return range(first, last + 1, step)


def _span(text: str, field: _Field, *, open_ended: bool) -> tuple[int, int]:
    first_text, dash, last_text = text.partition("-")
    first = _named_number(first_text, field)
    if dash:
        return first, _named_number(last_text, field)
    return first, field.high if open_ended else first


def _named_number(text: str, field: _Field) -> int:
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.low
    return _number(text, field.name, field.names)


def _number(text: str, name: str, names: tuple[str, ...] = ()) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"the {name} {text!r} is not a number" + (f" or one of {', '.join(names)}" if names else ""))
    return int(text)
