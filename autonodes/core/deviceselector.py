"""The CEL selectors of device classes and device requests, evaluated as the API server and kube-scheduler do.

``device`` has ``driver``, ``attributes["DOMAIN"].NAME`` and ``capacity["DOMAIN"].NAME``; a domain that a device does
not have is an empty map, an attribute that it does not have is an error (as in
``k8s.io/dynamic-resource-allocation/cel``). Beside CEL's own functions there are Kubernetes' quantities and semantic
versions, the usual functions on strings, and ``cel.bind``.

This module is imported when the first selector is met: most clusters have none, and cel-python takes 15 MB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

from celpy import Environment, celtypes
from celpy.adapter import json_to_cel
from celpy.celparser import CELParseError
from celpy.evaluation import CELEvalError

from autonodes.core.devices import Attribute, Device
from autonodes.core.errors import ConfigError
from autonodes.core.quantities import parse_quantity
from autonodes.core.semver import Version

MOST_COMPILED: Final = 512


class SelectorError(ConfigError):
    """A selector that does not compile."""


def matches(expression: str, device: Device) -> bool:
    """Whether a device meets a selector.

    :raises SelectorError: it does not compile
    :raises ValueError: it can't be evaluated for this device, or its result is no boolean
    """
    try:
        result = _compiled(expression).evaluate({"device": _as_cel(device)})
    except CELEvalError as error:
        raise ValueError(str(error.args[0]) if error.args else str(error)) from None
    if not isinstance(result, celtypes.BoolType | bool):
        raise ValueError(f"its result is {type(result).__name__}, not a boolean")
    return bool(result)


def check(expression: str) -> None:
    """:raises SelectorError: it does not compile"""
    _compiled(expression)


@lru_cache(maxsize=MOST_COMPILED)
def _compiled(expression: str) -> Any:
    environment = Environment()
    try:
        return environment.program(environment.compile(unbound(expression)), functions=_functions())
    except CELParseError as error:
        reason = str(error.args[0]).splitlines()[0] if error.args else "a syntax error"
        raise SelectorError("cel.expression", expression, f"not a CEL expression: {reason}") from None


def _as_cel(device: Device) -> Any:
    class Domains(celtypes.MapType):
        def __getitem__(self, key: Any) -> Any:
            return super().__getitem__(key) if key in self else celtypes.MapType({})

    def by_domain(values: Mapping[str, Any]) -> Any:
        domains: dict[str, dict[Any, Any]] = {}
        for name, value in values.items():
            domain, _, short = name.rpartition("/")
            domains.setdefault(domain or device.driver, {})[celtypes.StringType(short)] = value
        return Domains({celtypes.StringType(key): celtypes.MapType(each) for key, each in domains.items()})

    return celtypes.MapType(
        {
            celtypes.StringType("driver"): celtypes.StringType(device.driver),
            celtypes.StringType("attributes"): by_domain(
                {name: _attribute(each) for name, each in device.attributes.items()}
            ),
            celtypes.StringType("capacity"): by_domain(
                {name: _quantity(text) for name, text in device.capacity.items()}
            ),
            celtypes.StringType("allowMultipleAllocations"): celtypes.BoolType(False),
        }
    )


def _attribute(attribute: Attribute) -> Any:
    """:raises ValueError: a version that is none"""
    values = attribute.value if isinstance(attribute.value, tuple) else (attribute.value,)
    read: list[Any] = [Version(str(value)) if attribute.version else json_to_cel(value) for value in values]
    return celtypes.ListType(read) if isinstance(attribute.value, tuple) else read[0]


def unbound(expression: str) -> str:
    """``cel.bind(NAME, VALUE, BODY)`` written with a macro that cel-python has: ``[VALUE].map(NAME, BODY)[0]``."""
    while (start := _outside_strings(expression).find("cel.bind(")) >= 0:
        opening = start + len("cel.bind(")
        pieces = _arguments(expression, opening)
        if len(pieces) != 3:
            break
        name, value, body = (expression[first:last] for first, last in pieces)
        rewritten = f"[{value.strip()}].map({name.strip()}, {body.strip()})[0]"
        expression = expression[:start] + rewritten + expression[pieces[-1][1] + 1 :]
    return expression


def _outside_strings(text: str) -> str:
    """The text with what stands inside of string literals blanked."""
    return re.sub(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", lambda found: " " * len(found[0]), text)


def _arguments(expression: str, start: int) -> list[tuple[int, int]]:
    """Where the arguments of a call begin and end, from its opening bracket on; empty if it is never closed."""
    text, depth, found, begin = _outside_strings(expression), 0, [], start
    for place in range(start, len(text)):
        letter = text[place]
        if letter in "([{":
            depth += 1
        elif letter in ")]}" and depth:
            depth -= 1
        elif (letter == "," or letter == ")") and not depth:
            found.append((begin, place))
            begin = place + 1
            if letter == ")":
                return found
    return []


def _functions() -> dict[str, Callable[..., Any]]:
    boolean, integer, text = celtypes.BoolType, celtypes.IntType, celtypes.StringType

    def parses(make: Callable[[str], Any]) -> Callable[[Any], Any]:
        def test(value: Any) -> Any:
            try:
                make(str(value))
            except ValueError:
                return boolean(False)
            return boolean(True)

        return test

    return {
        "quantity": lambda value: _quantity(str(value)),
        "isQuantity": parses(_quantity),
        "semver": lambda value: Version(str(value)),
        "isSemver": parses(Version),
        "compareTo": lambda one, other: integer((one > other) - (one < other)),
        "isGreaterThan": lambda one, other: boolean(one > other),
        "isLessThan": lambda one, other: boolean(one < other),
        "asInteger": lambda value: integer(int(value)),
        "isInteger": lambda value: boolean(value.denominator == 1),
        "sign": lambda value: integer((value > 0) - (value < 0)),
        "add": lambda one, other: one + _number(other),
        "sub": lambda one, other: one - _number(other),
        "major": lambda version: integer(version.numbers[0]),
        "minor": lambda version: integer(version.numbers[1]),
        "patch": lambda version: integer(version.numbers[2]),
        "lowerAscii": lambda value: text(value.lower()),
        "upperAscii": lambda value: text(value.upper()),
        "trim": lambda value: text(value.strip()),
        "replace": lambda value, old, new: text(value.replace(old, new)),
        "indexOf": lambda value, part: integer(value.find(part)),
        "substring": lambda value, first, last=None: text(value[first:last]),
        "split": lambda value, by: celtypes.ListType([text(part) for part in value.split(by)]),
        "includes": lambda values, value: boolean(value in values if isinstance(values, list) else value == values),
    }


def _quantity(text: str) -> Fraction:
    try:
        return parse_quantity(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _number(value: Any) -> Fraction:
    return value if isinstance(value, Fraction) else Fraction(int(value))
