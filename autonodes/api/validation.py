"""Bad input, told as its writer would see it: the path, the value, and what to write instead.

Pydantic says what is wrong in its own terms; here each of its error types gets a remedy, and the model's schema
supplies what is known at that place: sibling keys, allowed values, bounds. A key that is unknown where it stands but
known elsewhere in the document is sent there.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from autonodes.api import objects
from autonodes.api.structural import Schema, structural_schema
from autonodes.core.errors import ConfigError, InvalidDocumentError

M = TypeVar("M", bound=BaseModel)

_PLAIN_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+")
_MOST_LISTED: Final = 12
_ANYTHING: Final[Schema] = {}


def validate(model: type[M], document: object, *, source: str) -> M:
    """The document as a model; unknown keys are refused.

    :param document: as YAML or JSON gave it
    :param source: the file or object that is at fault, ``vcluster.yaml``
    :raises InvalidDocumentError: with everything that is wrong, in the document's order
    """
    try:
        return model.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidDocumentError(source, explain(error, model)) from None


def explain(error: ValidationError, model: type[BaseModel]) -> list[ConfigError]:
    """Pydantic's errors, one by one.

    :param model: whose validation raised
    """
    schema = _schema(model)
    return [_explain(details, schema) for details in error.errors(include_url=False)]


def render_path(segments: Iterable[str | int]) -> str:
    """``("spec", "taints", 0, "key")`` → ``spec.taints[0].key``; odd keys as ``limits[nvidia.com/gpu]``."""
    path = ""
    for segment in segments:
        if isinstance(segment, str) and _PLAIN_SEGMENT.fullmatch(segment):
            path += f".{segment}" if path else segment
        else:
            path += f"[{segment}]"
    return path


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, if any is close."""
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


@functools.cache
def _schema(model: type[BaseModel]) -> Schema:
    return structural_schema(model)


def _explain(details: ErrorDetails, schema: Schema) -> ConfigError:
    context = details.get("ctx", {})
    location = details["loc"] + ((context["at"],) if context.get("at") else ())
    path, here = _walk(schema, location)
    parent = _walk(schema, location[:-1])[1] if location else schema
    remedy = _REMEDIES.get(details["type"], _its_message)
    value = None if details["type"] == "missing" else _value(details["input"], context.get("at"))
    return ConfigError(render_path(path) or "(document)", value, remedy(_Place(details, path, here, parent, schema)))


def _value(found: object, at: str | None) -> object:
    """What stands at the field at fault; a validator of a whole model was given all of it."""
    if at is None or at == "":
        return found
    return found.get(at) if isinstance(found, Mapping) else found


def _walk(schema: Schema, location: Sequence[str | int]) -> tuple[list[str | int], Schema]:
    """The path as written, and the schema at its end; what is not in the document (a union's member) is left out."""
    path: list[str | int] = []
    for index, segment in enumerate(location):
        below = _below(schema, segment)
        if below is None and segment != "[key]" and index < len(location) - 1 and "anyOf" in schema:
            continue
        if segment == "[key]":
            break
        path.append(segment)
        schema = below if below is not None else _ANYTHING
    return path, schema


def _below(schema: Schema, segment: str | int) -> Schema | None:
    if isinstance(segment, int):
        options = [schema.get("items")]
    else:
        options = [schema.get("properties", {}).get(segment), schema.get("additionalProperties")]
    options += [_below(option, segment) for option in schema.get("anyOf", ())]
    return next((option for option in options if isinstance(option, dict)), None)


class _Place:
    """One error and what the schema knows around it."""

    def __init__(
        self, details: ErrorDetails, path: Sequence[str | int], here: Schema, parent: Schema, root: Schema
    ) -> None:
        self.details, self.path, self.here, self.parent, self.root = details, path, here, parent, root
        self.context: Mapping[str, Any] = details.get("ctx", {})
        self.value = details["input"]


def _its_message(place: _Place) -> str:
    message = place.details["msg"]
    return message[:1].lower() + message[1:]


def _unknown_key(place: _Place) -> str:
    key = str(place.path[-1])
    siblings = list(_keys(place.parent))
    if (close := nearest(key, siblings)) is not None:
        return f'unknown key "{key}": did you mean "{close}"?'
    elsewhere = [path for path in _paths(place.root) if path[-1] == key]
    if len(elsewhere) == 1:
        return f'unknown key "{key}" here: it belongs at {render_path(elsewhere[0])}'
    return f'unknown key "{key}": known here are {_listed(sorted(siblings))}'


def _keys(schema: Schema) -> Iterator[str]:
    yield from schema.get("properties", {})
    for option in schema.get("anyOf", ()):
        yield from _keys(option)


def _paths(schema: Schema, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, child in schema.get("properties", {}).items():
        yield (*above, key)
        yield from _paths(child, (*above, key))


def _missing(place: _Place) -> str:
    purpose = str(place.here.get("description", "")).partition(". ")[0].rstrip(".")
    return f"it is required ({purpose[:1].lower()}{purpose[1:]})" if purpose else "it is required"


def _one_of(place: _Place) -> str:
    allowed = [str(each) for each in place.here.get("enum", ())] or _quoted(str(place.context.get("expected", "")))
    close = nearest(str(place.value), allowed)
    return f"write one of {_listed(allowed)}" + (f"; did you mean {close}?" if close else "")


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


def _within(place: _Place) -> str:
    low, high = place.here.get("minimum"), place.here.get("maximum")
    kind = "a whole number" if place.here.get("type") == "integer" else "a number"
    if low is not None and high is not None:
        return f"write {kind} from {low} to {high}"
    return f"write {kind} of at least {low}" if low is not None else f"write {kind} of at most {high}"


def _whole_number(place: _Place) -> str:
    if isinstance(place.value, str) and re.fullmatch(r"-?[0-9]+", place.value):
        return f"write it without quotes: {place.value}"
    return _within(place) if {"minimum", "maximum"} & place.here.keys() else "write a whole number"


def _number(place: _Place) -> str:
    if isinstance(place.value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", place.value):
        return f"write it without quotes: {place.value}"
    return "write a number"


def _text(place: _Place) -> str:
    pattern, quoted = str(place.here.get("pattern", "")), str(place.value)
    if isinstance(place.value, bool):
        return f'write it in quotes, "{quoted.lower()}": without them YAML takes it for a truth value'
    if not isinstance(place.value, int | float):
        return "write a string"
    if not re.search(pattern, quoted):
        return _in_words(pattern)
    return f'write it in quotes, "{quoted}": without them YAML takes it for a number'


def _pattern(place: _Place) -> str:
    return _in_words(str(place.context.get("pattern", "")))


def _in_words(pattern: str) -> str:
    return _PATTERNS.get(pattern, f"it must match {pattern}")


def _too_long(place: _Place) -> str:
    return f"at most {place.context['max_length']} {_unit(place)}"


def _too_short(place: _Place) -> str:
    least = place.context["min_length"]
    return "it must not be empty" if least == 1 else f"at least {least} {_unit(place)}"


def _unit(place: _Place) -> str:
    return "characters" if isinstance(place.value, str) else "entries"


def _fixed(text: str) -> Callable[[_Place], str]:
    return lambda _: text


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(words[:_MOST_LISTED])
    return shown if len(words) <= _MOST_LISTED else f"{shown} and {len(words) - _MOST_LISTED} others"


_LABEL: Final = "letters, digits, '-', '_' and '.', with a letter or digit at both ends"
_PATTERNS: Final = {
    objects.DURATION: "write whole hours, minutes and seconds, such as 30s, 1h30m or 720h",
    objects.NILLABLE_DURATION: "write whole hours, minutes and seconds, such as 30s, 1h30m or 720h, or Never",
    objects.LABEL_VALUE: f"a label's value is made of {_LABEL}",
    objects.QUALIFIED_NAME: f"a name is made of {_LABEL}, perhaps with a DNS name and '/' before it",
    objects.GROUP: "write the API group alone, without a version",
    objects.BUDGET_NODES: "write a number of nodes, such as 2, or a percentage from 0% to 100%",
    objects.BUDGET_SCHEDULE: "write five fields (minute hour day month weekday) or @daily and the like",
    objects.BUDGET_DURATION: "write hours and minutes, such as 8h or 1h30m",
}
_MAPPING: Final = _fixed("write a mapping, that is lines of the form key: value")
_LIST: Final = _fixed("write a list, that is lines that start with -")
_REMEDIES: Final[Mapping[str, Callable[[_Place], str]]] = {
    "config": lambda place: str(place.context["remedy"]),
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "literal_error": _one_of,
    "enum": _one_of,
    "greater_than_equal": _within,
    "less_than_equal": _within,
    "greater_than": _within,
    "less_than": _within,
    "int_type": _whole_number,
    "int_parsing": _whole_number,
    "int_from_float": _whole_number,
    "float_type": _number,
    "float_parsing": _number,
    "bool_type": _fixed("write true or false"),
    "bool_parsing": _fixed("write true or false"),
    "string_type": _text,
    "string_pattern_mismatch": _pattern,
    "string_too_long": _too_long,
    "string_too_short": _too_short,
    "too_long": _too_long,
    "too_short": _too_short,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "mapping_type": _MAPPING,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "datetime_parsing": _fixed("write a time as in 2026-01-31T12:00:00Z"),
    "datetime_from_date_parsing": _fixed("write a time as in 2026-01-31T12:00:00Z"),
}
