"""A snapshot as JSON and back, so that decisions can be made again elsewhere.

``decode(encode(recording)) == recording``, and lists and mappings keep their order, so a plan comes out the same, byte
for byte. A field that has its default is left out; so a snapshot that was recorded before a field existed can still be
read, and one with a field that this release does not know is refused.

The model holds nothing secret: no environment, no volumes' contents, and of annotations those that mean something here.

The catalogues are written once each, however many pools sell them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from typing import Any, Final

import msgspec

from autonodes.core.disruption import Circumstances
from autonodes.core.errors import ConfigError
from autonodes.core.model import InstanceType, Snapshot
from autonodes.core.podbudgets import DisruptionBudget
from autonodes.core.requirements import Requirement, Requirements

KIND: Final = "autonodes.io/snapshot"
FORMAT: Final = 1
"""Goes up when what is written can no longer be read by an older release."""

_CATALOGUES: Final = "instance_types"
"""The snapshot's field that is written apart."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """All that decisions are made on.

    :param facts: what decisions about nodes need to know beside the snapshot
    :param left_out: pool → why nothing could be bought from it at that moment
    """

    snapshot: Snapshot
    facts: Circumstances = field(default_factory=Circumstances)
    left_out: Mapping[str, str] = field(default_factory=dict)


def encode(recording: Recording) -> bytes:
    """One line of JSON."""
    snapshot = recording.snapshot
    catalogues: list[tuple[InstanceType, ...]] = []
    sells: dict[str, int] = {}
    for pool, types in snapshot.instance_types.items():
        if types not in catalogues:
            catalogues.append(types)
        sells[pool] = catalogues.index(types)
    content = _fields(replace(snapshot, instance_types={}))
    content.pop(_CATALOGUES)
    document = _Document(
        format=FORMAT,
        pod_events=dict(recording.facts.pod_events),
        drifted=sorted(recording.facts.drifted),
        busy=sorted(recording.facts.busy),
        budgets=_plain(recording.facts.budgets),
        left_out=dict(recording.left_out),
        catalogues=_plain(catalogues),
        sells=sells,
        snapshot=content,
    )
    return msgspec.json.encode(document)


def decode(text: bytes, *, source: str = "snapshot") -> Recording:
    """:param source: where the text is from, for the error
    :raises ConfigError: it is not a snapshot, of a newer format, or damaged
    """
    try:
        document = msgspec.json.decode(text, type=_Document)
    except msgspec.DecodeError as error:
        raise ConfigError(source, None, f"is not a recorded snapshot, or damaged: {error}") from error
    if document.format != FORMAT:
        raise ConfigError(f"{source}.format", document.format, f"this release reads format {FORMAT}")
    try:
        catalogues = msgspec.convert(document.catalogues, tuple[tuple[InstanceType, ...], ...], dec_hook=_requirements)
        types = {pool: catalogues[place] for pool, place in document.sells.items()}
        budgets = msgspec.convert(document.budgets, tuple[DisruptionBudget, ...], dec_hook=_requirements)
        _known(document.snapshot, Snapshot, source)
        snapshot = msgspec.convert({**document.snapshot, _CATALOGUES: {}}, Snapshot, dec_hook=_requirements)
    except (msgspec.ValidationError, IndexError) as error:
        raise ConfigError(source, None, f"is damaged: {error}") from error
    facts = Circumstances(
        pod_events=document.pod_events,
        drifted=frozenset(document.drifted),
        busy=frozenset(document.busy),
        budgets=budgets,
    )
    return Recording(snapshot=replace(snapshot, instance_types=types), facts=facts, left_out=document.left_out)


class _Document(msgspec.Struct, kw_only=True, tag_field="kind", tag=KIND, rename="camel"):
    format: int
    pod_events: dict[str, float]
    left_out: dict[str, str]
    catalogues: list[Any]
    sells: dict[str, int]
    snapshot: dict[str, Any]
    drifted: list[str] = []
    busy: list[str] = []
    budgets: list[Any] = []


def _plain(value: Any) -> Any:
    if isinstance(value, Requirements):
        return [_fields(requirement) for requirement in value.values()]
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(_plain(each) for each in value)
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value


def _fields(value: Any) -> dict[str, Any]:
    return {
        declared.name: _plain(content)
        for declared in fields(value)
        if not _is_default(declared, content := getattr(value, declared.name))
    }


def _is_default(declared: Field[Any], content: Any) -> bool:
    if declared.default_factory is not MISSING:
        return bool(content == declared.default_factory())
    default = declared.default
    return default is not MISSING and type(content) is type(default) and bool(content == default)


def _requirements(kind: type, value: Any) -> Any:
    if kind is Requirements:
        return Requirements(msgspec.convert(each, Requirement) for each in value)
    raise NotImplementedError(kind)


def _known(content: Mapping[str, Any], kind: type[Snapshot], source: str) -> None:
    unknown = sorted(set(content) - {declared.name for declared in fields(kind)})
    if unknown:
        raise ConfigError(f"{source}.{unknown[0]}", None, "this release does not know the field: use a newer one")
