"""What may stand at one label key: a set of strings, and whether the label may be missing.

A requirement is ``{complement, values, inclusive integer bounds, absent}``:

- not complement: exactly ``values``;
- complement: every string but ``values``; with bounds, every integer within them but ``values``.

``absent`` says whether a node without the label will do: NotIn and DoesNotExist allow that, the others don't. So
``Exists`` and ``DoesNotExist`` contradict each other, while ``NotIn`` and ``DoesNotExist`` meet in ``DoesNotExist``.

The form is canonical: bounds come in pairs (an open end is the end of int64), a complement lists only values that the
bounds would let in, and concrete sets have no bounds. Hence ``==`` and ``hash`` mean equality of what is allowed.

A value is an integer if Go's ``strconv.Atoi`` says so (``007`` and ``+7`` are, ``7.0`` is not); where bounds are set,
any other value never matches.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from autonodes.core.errors import ConfigError
from autonodes.core.labels import NORMALIZED

OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Gte", "Lte")
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_LABEL_LENGTH: Final = 63
_NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Requirement:
    """Make one by `of`; the constructor takes the canonical form and does not check it.

    :param at_least: inclusive; None if and only if ``at_most`` is
    :param min_values: the instance types that remain must offer at least so many distinct values
    """

    key: str
    complement: bool
    values: frozenset[str] = _NONE
    at_least: int | None = None
    at_most: int | None = None
    absent: bool = False
    min_values: int | None = None

    @classmethod
    def of(
        cls,
        key: str,
        operator: str,
        values: Iterable[str] = (),
        *,
        min_values: int | None = None,
        path: str = "",
    ) -> Requirement:
        """One line of ``requirements`` or ``matchExpressions``; a deprecated key becomes the one that stands for it.

        :param path: where it stands, for the error; the key if not given
        :raises ConfigError: unknown operator, wrong number of values, a bound that is no integer
        """
        listed = tuple(values)
        _check(path or key, key, operator, listed)
        key = NORMALIZED.get(key, key)
        match operator:
            case "In":
                return cls(key, False, frozenset(listed), min_values=min_values)
            case "NotIn":
                return cls(key, True, frozenset(listed), absent=True, min_values=min_values)
            case "Exists":
                return cls(key, True, min_values=min_values)
            case "DoesNotExist":
                return cls(key, False, absent=True, min_values=min_values)
            case _:
                at_least, at_most = _bounds(operator, int(listed[0]))
                return _canonical(key, True, _NONE, at_least, at_most, False, min_values)

    @classmethod
    def anything(cls, key: str) -> Requirement:
        """No requirement at all: any value, or no label."""
        return cls(NORMALIZED.get(key, key), True, absent=True)

    @classmethod
    def nothing(cls, key: str) -> Requirement:
        """The contradiction: no value, and the label must be there."""
        return cls(NORMALIZED.get(key, key), False)

    def has(self, value: str | None) -> bool:
        """Whether a node with this value will do; None stands for a node without the label."""
        if value is None:
            return self.absent
        if self.complement:
            return value not in self.values and self._within(value)
        return value in self.values

    def intersection(self, other: Requirement) -> Requirement:
        """What both allow. ``other`` must be of the same key."""
        min_values = _greatest(self.min_values, other.min_values)
        absent = self.absent and other.absent
        if self.complement and other.complement:
            at_least, at_most = _greatest(self.at_least, other.at_least), _least(self.at_most, other.at_most)
            excluded = self.values | other.values
            return _canonical(self.key, True, excluded, at_least, at_most, absent, min_values)
        concrete, filtering = (other, self) if self.complement else (self, other)
        left = frozenset(value for value in concrete.values if filtering.has(value))
        return Requirement(self.key, False, left, absent=absent, min_values=min_values)

    __and__ = intersection

    def overlaps(self, other: Requirement) -> bool:
        """Whether anything satisfies both: ``not self.intersection(other).empty``, without making that."""
        if self.absent and other.absent:
            return True
        if self.complement and other.complement:
            at_least, at_most = _greatest(self.at_least, other.at_least), _least(self.at_most, other.at_most)
            return at_least is None or at_most is None or at_least <= at_most
        concrete, filtering = (other, self) if self.complement else (self, other)
        return any(filtering.has(value) for value in concrete.values)

    def subset_of(self, other: Requirement) -> bool:
        """Whether whatever satisfies this satisfies ``other`` too (``min_values`` aside)."""
        return replace(self.intersection(other), min_values=self.min_values) == self

    @property
    def empty(self) -> bool:
        """Nothing satisfies it, neither a value nor a missing label."""
        return not (self.complement or self.values or self.absent)

    @property
    def universal(self) -> bool:
        """Everything satisfies it."""
        return self.complement and self.absent and not self.values

    @property
    def single(self) -> str | None:
        """The only value that is allowed, if there is one."""
        if self.complement or len(self.values) != 1 or self.absent:
            return None
        return next(iter(self.values))

    @property
    def operator(self) -> str:
        """In, NotIn, Exists or DoesNotExist; bounds count as Exists or, with exceptions, as NotIn."""
        if self.complement:
            return "NotIn" if self.values else "Exists"
        return "In" if self.values else "DoesNotExist"

    def any_value(self) -> str | None:
        """Some value that is allowed, always the same one; None if none is."""
        if not self.complement:
            return min(self.values, default=None)
        if self.at_least is None or self.at_most is None:
            return next(word for word in _words() if word not in self.values)
        numbers = _integers(self.at_least, self.at_most)
        return next(value for value in numbers if value not in self.values)

    def to_list(self) -> list[dict[str, Any]]:
        """As lines of a NodeClaim's ``requirements``: ``key``, ``operator``, ``values`` and, if set, ``minValues``.

        One line, or more where an operator cannot say it all; none for what requires nothing.
        """
        return [self._line(operator, values) for operator, values in self._lines()]

    def _lines(self) -> list[tuple[str, Sequence[str]]]:
        if not self.complement:
            return [(self.operator if self.absent else "In", sorted(self.values))]
        lines: list[tuple[str, Sequence[str]]] = []
        if self.at_least is not None and (self.at_least > INT_MIN or self.at_most == INT_MAX):
            lines.append(("Gte", [str(self.at_least)]))
        if self.at_most is not None and self.at_most < INT_MAX:
            lines.append(("Lte", [str(self.at_most)]))
        if not lines and not self.absent:
            lines.append(("Exists", []))
        if self.values:
            lines.append(("NotIn", sorted(self.values)))
        return lines

    def _line(self, operator: str, values: Sequence[str]) -> dict[str, Any]:
        line: dict[str, Any] = {"key": self.key, "operator": operator}
        if values:
            line["values"] = list(values)
        if self.min_values is not None:
            line["minValues"] = self.min_values
        return line

    def _within(self, value: str) -> bool:
        if self.at_least is None or self.at_most is None:
            return True
        number = _integer(value)
        return number is not None and self.at_least <= number <= self.at_most

    def __str__(self) -> str:
        lines = self._lines() or [("anything", [])]
        text = ", ".join(f"{operator} {_few(values)}" if values else operator for operator, values in lines)
        return f"{self.key} {text}" + (f" (minValues {self.min_values})" if self.min_values else "")


def _canonical(
    key: str,
    complement: bool,
    values: frozenset[str],
    at_least: int | None,
    at_most: int | None,
    absent: bool,
    min_values: int | None,
) -> Requirement:
    if at_least is None and at_most is None:
        return Requirement(key, complement, values, absent=absent, min_values=min_values)
    low = INT_MIN if at_least is None else max(at_least, INT_MIN)
    high = INT_MAX if at_most is None else min(at_most, INT_MAX)
    if low > high:
        return Requirement(key, False, absent=absent, min_values=min_values)
    bounded = Requirement(key, complement, _NONE, low, high, absent, min_values)
    excluded = frozenset(value for value in values if bounded.has(value))
    return replace(bounded, values=excluded) if excluded else bounded


def _check(path: str, key: str, operator: str, values: tuple[str, ...]) -> None:
    if operator not in OPERATORS:
        raise ConfigError(f"{path}.operator", operator, f"label {key}: use one of {', '.join(OPERATORS)}")
    if operator in ("In", "NotIn") and not values:
        raise ConfigError(f"{path}.values", values, f"label {key}: {operator} needs at least one value")
    if operator in ("Exists", "DoesNotExist") and values:
        raise ConfigError(f"{path}.values", values, f"label {key}: {operator} takes no values")
    if operator in ("Gt", "Lt", "Gte", "Lte") and (len(values) != 1 or _integer(values[0]) is None):
        raise ConfigError(f"{path}.values", values, f"label {key}: {operator} takes one integer")


def _bounds(operator: str, number: int) -> tuple[int | None, int | None]:
    match operator:
        case "Gt":
            return number + 1, None
        case "Gte":
            return number, None
        case "Lt":
            return None, number - 1
        case _:
            return None, number


def _integer(value: str) -> int | None:
    if len(value) > _LABEL_LENGTH or not _INTEGER.fullmatch(value):
        return None
    number = int(value)
    return number if INT_MIN <= number <= INT_MAX else None


def _greatest(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _words() -> Iterator[str]:
    yield "true"
    yield from map(str, itertools.count())


def _integers(at_least: int, at_most: int) -> Iterator[str]:
    start = max(at_least, min(0, at_most))
    yield from map(str, range(start, at_most + 1))
    zeros = "0"
    while True:  # every plain name is taken: the same integer, written with leading zeros
        yield f"{'-' if start < 0 else ''}{zeros}{abs(start)}"
        zeros += "0"


def _few(values: Sequence[str]) -> str:
    shown = ", ".join(values[:5])
    return f"[{shown}]" if len(values) <= 5 else f"[{shown}, and {len(values) - 5} others]"
