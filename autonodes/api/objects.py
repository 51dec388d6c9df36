"""What every custom resource is made of: the strict base model, object metadata, and the types of single fields.

A model is written once and used three ways: to check what a user wrote (unknown keys are refused), to read what the
API server stored (unknown keys are ignored: a newer schema may have written them), and to generate the CRD's schema
(:mod:`autonodes.api.structural`). So each field's type carries its schema; rules that span fields are a pair of a CEL
rule and a validator, and the tests hold the two against each other on a real API server.

Instances are frozen. Names are snake_case here and camelCase outside; only code may use the former.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from autonodes.core.durations import parse_duration
from autonodes.core.errors import ConfigError
from autonodes.core.quantities import parse_quantity

QUALIFIED_NAME: Final = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*(\/))?"
    r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"
)
"""``name`` or ``dns.prefix/name``: keys of labels and taints."""
LABEL_VALUE: Final = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
QUANTITY: Final = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
    r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
GROUP: Final = r"^[^/]*$"
DURATION: Final = r"^([0-9]+(s|m|h))+$"
NILLABLE_DURATION: Final = r"^(([0-9]+(s|m|h))+|Never)$"
BUDGET_SCHEDULE: Final = r"^(@(annually|yearly|monthly|weekly|daily|midnight|hourly)|\s*\S+(\s+\S+){4}\s*)$"
BUDGET_DURATION: Final = r"^((([0-9]+(h|m))|([0-9]+h[0-9]+m))(0s)?)$"
BUDGET_NODES: Final = r"^((100|[0-9]{1,2})%|[0-9]+)$"
"""The patterns as the published schemas have them, so that both accept the same."""


def fault(remedy: str, *, at: str = "") -> PydanticCustomError:
    """What a validator raises.

    :param remedy: what to write instead
    :param at: the field at fault, relative to where the validator sits (``values``)
    """
    return PydanticCustomError("config", "{remedy}", {"remedy": remedy, "at": at})


def cel(*rules: tuple[str, str] | tuple[str, str, str]) -> JsonDict:
    """A schema's ``x-kubernetes-validations``: each a CEL rule, what to say when it is broken, and perhaps the field
    below this one that is then at fault."""
    listed: list[JsonValue] = []
    for rule in rules:
        listed.append(dict(zip(("rule", "message", "fieldPath"), rule, strict=False)))
    return {"x-kubernetes-validations": listed}


class Model(BaseModel):
    """Strict and frozen; camelCase outside."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_by_alias=True,
        validate_by_name=True,
    )


def _time(value: object) -> object:
    if value is None or isinstance(value, str | dt.datetime):
        return value
    raise fault("write a time as in 2026-01-31T12:00:00Z")


def _quantity(value: object) -> str:
    if isinstance(value, float):
        raise fault(f'write it in quotes, "{value}": Kubernetes takes quantities as strings or whole numbers')
    try:
        parse_quantity(value)  # type: ignore[arg-type]  # it refuses what is neither number nor string
    except ConfigError as error:
        raise fault(error.remedy) from None
    return str(value)


Time = Annotated[dt.datetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]
Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": QUANTITY,
            "x-kubernetes-int-or-string": True,
        }
    ),
]
Int32 = Annotated[int, Field(strict=True, json_schema_extra={"format": "int32"})]
Int64 = Annotated[int, Field(strict=True, json_schema_extra={"format": "int64"})]
Duration = Annotated[str, Field(pattern=DURATION)]
NillableDuration = Annotated[str, Field(pattern=NILLABLE_DURATION)]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]


def seconds(duration: str | None, *, path: str) -> float | None:
    """Of a field that may be ``Never`` or missing."""
    return None if duration is None else parse_duration(duration, path=path)


def timestamp(moment: dt.datetime | None) -> float | None:
    """Seconds since the epoch; what has no zone is UTC."""
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def moment(epoch: float) -> dt.datetime:
    """The time as the API shows it: UTC, whole seconds (rounded down)."""
    return dt.datetime.fromtimestamp(int(epoch), dt.UTC)


class OwnerReference(Model):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Model):
    """Kubernetes' own; the API server checks it, so only its shape is known here."""

    name: str = ""
    generate_name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    deletion_grace_period_seconds: int | None = None
    self_link: str | None = None
    managed_fields: tuple[dict[str, Any], ...] = ()


class CustomResource(Model):
    """Root of a custom resource. A subclass narrows ``api_version`` and ``kind`` to its literals and has a `spec`."""

    plural: ClassVar[str]
    scope: ClassVar[Literal["Cluster", "Namespaced"]] = "Cluster"
    categories: ClassVar[tuple[str, ...]] = ()
    short_names: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    scale: ClassVar[Mapping[str, str] | None] = None

    metadata: ObjectMeta = Field(default_factory=ObjectMeta)

    @classmethod
    def from_api(cls, body: Mapping[str, Any]) -> Self:
        """What the API server stored; fields that are not known here are passed over.

        :raises pydantic.ValidationError: it is not of this kind, or older than a rule that it breaks
        """
        return cls.model_validate(body, extra="ignore", by_alias=True, by_name=False)

    def manifest(self) -> dict[str, Any]:
        """As JSON, with what was set and nothing else; ready to be created or applied."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True) | self.type_meta()

    @classmethod
    def type_meta(cls) -> dict[str, str]:
        """``apiVersion`` and ``kind``"""
        return {"apiVersion": cls.model_fields["api_version"].default, "kind": cls.model_fields["kind"].default}

    @property
    def name(self) -> str:
        return self.metadata.name
