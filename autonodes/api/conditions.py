"""Status conditions: one per type, and a time that moves only when the status does.

The conventions are Kubernetes' (``metav1.Condition``). Where several conditions add up to ``Ready``, the words are
Karpenter's: True when all are, False as soon as one is, else Unknown; the message lists those that are not True.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field, WithJsonSchema

from autonodes.api.objects import Model, Time, moment

ConditionStatus = Literal["True", "False", "Unknown"]
READY: Final = "Ready"

_TYPE: Final = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
)
_REASON: Final = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
_REASON_OR_NOTHING: Final = r"^([A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?|)$"


class Condition(Model):
    """One observation. Reading is lenient (a reason may be missing), writing through `set_condition` is not."""

    type: str = Field(max_length=316, pattern=_TYPE)
    """What is observed, in CamelCase, perhaps with a domain before it."""
    status: ConditionStatus
    """Whether it holds."""
    last_transition_time: Time
    """Since when the status is what it is."""
    reason: str = Field(default="", max_length=1024, pattern=_REASON_OR_NOTHING)
    """Why, in one CamelCase word that programs may rely on."""
    message: str = Field(default="", max_length=32768)
    """Why, for people."""
    observed_generation: int | None = Field(default=None, ge=0, json_schema_extra={"format": "int64"})
    """The ``metadata.generation`` that was looked at; older than the object's means out of date."""


class _CompleteCondition(Condition):
    reason: str = Field(min_length=1, max_length=1024, pattern=_REASON)
    """Why, in one CamelCase word that programs may rely on."""
    message: str = Field(max_length=32768)
    """Why, for people."""


def _schema(item: type[Condition]) -> dict[str, Any]:
    return {
        "type": "array",
        "items": item.model_json_schema(),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }


Conditions = Annotated[tuple[Condition, ...], WithJsonSchema(_schema(Condition))]
"""At most one of a type; reason and message may be missing."""
CompleteConditions = Annotated[tuple[Condition, ...], WithJsonSchema(_schema(_CompleteCondition))]
"""The same where the API server insists on reason and message."""


Verdict = tuple[ConditionStatus, str, str]
"""A condition's status, reason and message."""


def find_condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == type_), None)


def is_true(conditions: Iterable[Condition], type_: str) -> bool:
    """A missing condition is not true."""
    found = find_condition(conditions, type_)
    return found is not None and found.status == "True"


def set_condition(
    conditions: Sequence[Condition],
    type_: str,
    status: ConditionStatus,
    *,
    now: float,
    reason: str = "",
    message: str = "",
    observed_generation: int | None = None,
) -> tuple[Condition, ...]:
    """The conditions with one of them set; the very same objects where nothing changed.

    :param now: seconds since the epoch; becomes the transition time only if the status is another than before
    :param reason: the type itself if not given, as is the habit for a condition that is simply True
    """
    before = find_condition(conditions, type_)
    changed = before is None or before.status != status
    after = Condition(
        type=type_,
        status=status,
        last_transition_time=moment(now) if changed or before is None else before.last_transition_time,
        reason=reason or type_.rpartition("/")[2],
        message=message,
        observed_generation=observed_generation,
    )
    if before is None:
        return (*conditions, after)
    return tuple(after if condition is before and after != before else condition for condition in conditions)


def set_conditions(
    conditions: tuple[Condition, ...],
    verdicts: Mapping[str, Verdict],
    *,
    now: float,
    observed_generation: int | None = None,
) -> tuple[Condition, ...]:
    """The conditions with several of them set; see `set_condition`."""
    for type_, (status, reason, message) in verdicts.items():
        conditions = set_condition(
            conditions,
            type_,
            status,
            now=now,
            reason=reason,
            message=message,
            observed_generation=observed_generation,
        )
    return conditions


def to_json(conditions: Iterable[Condition]) -> list[dict[str, Any]]:
    """As they stand in an object's status."""
    return [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in conditions]


def remove_condition(conditions: Sequence[Condition], type_: str) -> tuple[Condition, ...]:
    return tuple(condition for condition in conditions if condition.type != type_)


def set_ready(
    conditions: Sequence[Condition],
    dependents: Sequence[str],
    *,
    now: float,
    observed_generation: int | None = None,
) -> tuple[Condition, ...]:
    """``Ready`` as the sum of the conditions named by ``dependents``; one that is missing counts as Unknown."""
    statuses = {type_: _status(conditions, type_) for type_ in dependents}
    lacking = {type_: status for type_, status in statuses.items() if status != "True"}
    if not lacking:
        return set_condition(conditions, READY, "True", now=now, observed_generation=observed_generation)
    failed = "False" in lacking.values()
    return set_condition(
        conditions,
        READY,
        "False" if failed else "Unknown",
        now=now,
        reason="UnhealthyDependents" if failed else "ReconcilingDependents",
        message=", ".join(f"{type_}={status}" for type_, status in lacking.items()),
        observed_generation=observed_generation,
    )


def _status(conditions: Iterable[Condition], type_: str) -> ConditionStatus:
    found = find_condition(conditions, type_)
    return found.status if found else "Unknown"
