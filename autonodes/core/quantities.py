"""Kubernetes quantities, exactly, to the integers of the model and back.

Grammar (apimachinery's ``resource.Quantity``): a signed decimal number and a suffix, which is binary (``Ki`` … ``Ei``),
decimal (``n u m k M G T P E``) or an exponent (``e3``, ``E-2``). In the model ``cpu`` counts millicores, everything
else its own unit; a request is rounded up and a capacity down, so that rounding never makes a pod fit where it doesn't.

Nothing here goes through a float: ``0.1`` of a core is 100 millicores, and 1.1Gi is 1181116007 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Final

from autonodes.core.errors import QuantityError

MAX: Final = 2**63 - 1
"""The greatest amount; the Go type behind the API holds no more."""

_NUMBER = re.compile(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)(.*)", re.ASCII | re.DOTALL)
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]{1,3})", re.ASCII)
_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL: Final = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
}
_SUFFIXES: Final = {**_DECIMAL, **{name: Fraction(factor) for name, factor in _BINARY.items()}}

Quantity = str | int | float
"""As it stands in JSON or YAML; a bare number is allowed there."""


def parse_quantity(value: Quantity, *, path: str = "quantity") -> Fraction:
    """The exact number.

    :raises QuantityError: not in Kubernetes' notation, or beyond 2⁶³ - 1
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise QuantityError(path, value, _REMEDY)
    try:
        number = _parse(value if isinstance(value, str) else repr(value))
    except ValueError as error:
        raise QuantityError(path, value, str(error) or _remedy(str(value))) from None
    return number


def parse_resource(name: str, value: Quantity, *, path: str = "", capacity: bool = False) -> int:
    """The amount of resource ``name`` as the model counts it: millicores for ``cpu``, else units.

    :param capacity: round down, as what a machine has; a request is rounded up
    :raises QuantityError: does not parse, or is negative
    """
    try:
        rounded_down, rounded_up = _amount(name == "cpu", value if isinstance(value, str) else repr(value))
    except ValueError as error:
        raise QuantityError(path or name, value, str(error) or _remedy(str(value))) from None
    return rounded_down if capacity else rounded_up


def parse_resources(
    values: Mapping[str, Quantity], *, path: str = "resources", capacity: bool = False
) -> dict[str, int]:
    """:func:`parse_resource` on each item; an error's path is ``path.NAME``."""
    return {
        name: parse_resource(name, value, path=f"{path}.{name}", capacity=capacity) for name, value in values.items()
    }


def format_resource(name: str, amount: int) -> str:
    """Canonical text of the model's integer, which parses back to it: ``1500m``, ``2``, ``4Gi``, ``110``."""
    if name == "cpu":
        whole, rest = divmod(amount, 1000)
        return f"{amount}m" if rest else str(whole)
    if name in ("memory", "ephemeral-storage") or name.startswith("hugepages-"):
        return _format_bytes(amount)
    return str(amount)


def format_resources(resources: Mapping[str, int]) -> dict[str, str]:
    """:func:`format_resource` on each item, in the order of the names."""
    return {name: format_resource(name, resources[name]) for name in sorted(resources)}


def _format_bytes(amount: int) -> str:
    for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        if amount and amount % _BINARY[suffix] == 0:
            return f"{amount // _BINARY[suffix]}{suffix}"
    return str(amount)


@lru_cache(maxsize=65536)
def _amount(is_cpu: bool, text: str) -> tuple[int, int]:
    """(rounded down, rounded up); cached because a cluster writes few distinct quantities very often."""
    number = _parse(text) * (1000 if is_cpu else 1)
    if number < 0:
        raise ValueError("an amount can't be negative")
    return number.__floor__(), number.__ceil__()


def _parse(text: str) -> Fraction:
    matched = _NUMBER.fullmatch(text)
    if matched is None:
        raise ValueError
    sign, digits, suffix = matched.groups()
    factor = _SUFFIXES.get(suffix)
    if factor is None:
        factor = _power_of_ten(suffix)
    number = Fraction(digits) * factor
    if number > MAX:
        raise ValueError("more than 2^63 - 1, the greatest amount there is")
    return -number if sign == "-" else number


def _power_of_ten(suffix: str) -> Fraction:
    matched = _EXPONENT.fullmatch(suffix)
    if matched is None:
        raise ValueError
    return Fraction(10) ** int(matched[1])


_REMEDY = "write a number with an optional suffix, such as 100m, 0.5, 2Gi, 500M or 1e3"


def _remedy(text: str) -> str:
    letters = text.lstrip("+-.0123456789").strip()
    for known in _SUFFIXES:
        if known and letters.lower() in (known.lower(), f"{known}b".lower()):
            number = text[: len(text) - len(text.lstrip("+-.0123456789"))]
            return f"did you mean {number}{known}? {_REMEDY}"
    return _REMEDY
