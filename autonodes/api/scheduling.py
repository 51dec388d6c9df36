"""What NodePools, NodeClaims and NodeOverlays share: requirements on labels, taints, the reference to a node class.

The rules about restricted labels guard Karpenter's own domain: ``karpenter.sh`` and its subdomains, but for the
capacity type and (where a claim names its pool) the pool; and ``kubernetes.io/hostname``, which no pool can promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from autonodes.api.objects import GROUP, QUALIFIED_NAME, LabelValue, Model, Time, cel, fault
from autonodes.core import labels
from autonodes.core.model import Taint as TaintModel
from autonodes.core.requirements import Requirements

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Gte", "Lte"]
INTEGER_OPERATORS: Final = ("Gt", "Lt", "Gte", "Lte")
MAX_REQUIREMENTS: Final = 100

_DOMAIN: Final = "karpenter.sh"
_OPEN: Final = frozenset({labels.CAPACITY_TYPE, labels.NODE_POOL})

ATOMIC: Final[JsonDict] = {"x-kubernetes-list-type": "atomic"}
DOMAIN_RULE: Final = "x in ['karpenter.sh/capacity-type', 'karpenter.sh/nodepool'] || !x.matches('{}')".format(
    r"^([^/]*[.])?karpenter[.]sh(/|$)"
)
"""In CEL, over the variable ``x``."""
DOMAIN_MESSAGE: Final = "labels of karpenter.sh are the controller's: use a well-known label or one of your own domain"
HOSTNAME_MESSAGE: Final = "kubernetes.io/hostname is not known before the node is: use another label"
NODE_POOL_MESSAGE: Final = "karpenter.sh/nodepool is on every node of the pool by itself: leave it out"


def restriction(key: str) -> str:
    """Why this label may not be asked for, or "" if it may."""
    domain = key.partition("/")[0]
    if key not in _OPEN and (domain == _DOMAIN or domain.endswith(f".{_DOMAIN}")):
        return DOMAIN_MESSAGE
    return HOSTNAME_MESSAGE if key == labels.HOSTNAME else ""


_KEY_RULES: Final = (
    (DOMAIN_RULE.replace("x in", "self in").replace("x.matches", "self.matches"), DOMAIN_MESSAGE),
    (f"self != '{labels.HOSTNAME}'", HOSTNAME_MESSAGE),
)
_POOL_KEY_RULES: Final = (*_KEY_RULES, (f"self != '{labels.NODE_POOL}'", NODE_POOL_MESSAGE))


def _unrestricted(key: str) -> str:
    if reason := restriction(key):
        raise fault(reason)
    return key


def _not_the_pool(key: str) -> str:
    if key == labels.NODE_POOL:
        raise fault(NODE_POOL_MESSAGE)
    return key


LabelKey = Annotated[
    str,
    Field(max_length=316, pattern=QUALIFIED_NAME, json_schema_extra=cel(*_KEY_RULES)),
    AfterValidator(_unrestricted),
]
PoolLabelKey = Annotated[
    str,
    Field(max_length=316, pattern=QUALIFIED_NAME, json_schema_extra=cel(*_POOL_KEY_RULES)),
    AfterValidator(_unrestricted),
    AfterValidator(_not_the_pool),
]

_IN_NEEDS_VALUES: Final = "operator In needs at least one value"
_INTEGERS_NEED_ONE: Final = "operators Gt, Lt, Gte and Lte need exactly one value, a whole number that is not negative"
_MIN_VALUES: Final = "with operator In at least as many values are needed as minValues says"
_VALUE_RULES: Final = (
    ("self.operator != 'In' || (has(self.values) && size(self.values) > 0)", _IN_NEEDS_VALUES, ".values"),
    (
        "!(self.operator in ['Gt', 'Lt', 'Gte', 'Lte']) || (has(self.values) && size(self.values) == 1"
        " && self.values[0].matches('^[0-9]+$') && int(self.values[0]) >= 0)",
        _INTEGERS_NEED_ONE,
        ".values",
    ),
)


class LabelRequirement(Model):
    """One label that a node must have (or must not)."""

    model_config = ConfigDict(json_schema_extra=cel(*_VALUE_RULES))

    key: LabelKey
    """The label. Deprecated ``beta.kubernetes.io`` names stand for their successors."""
    operator: Operator
    """How the label relates to the values."""
    values: tuple[LabelValue, ...] = Field(default=(), json_schema_extra=ATOMIC)
    """At least one for In; a single whole number for Gt, Lt, Gte and Lte; none for Exists and DoesNotExist."""

    @model_validator(mode="after")
    def _values_fit_the_operator(self) -> Self:
        if self.operator == "In" and not self.values:
            raise fault(_IN_NEEDS_VALUES, at="values")
        if self.operator in INTEGER_OPERATORS and not (len(self.values) == 1 and _natural(self.values[0])):
            raise fault(_INTEGERS_NEED_ONE, at="values")
        return self

    def line(self) -> dict[str, Any]:
        """As `Requirements.from_list` takes it: without what its operator ignores."""
        values = self.values if self.operator not in ("Exists", "DoesNotExist") else ()
        return {"key": self.key, "operator": self.operator, "values": values}


class NodeSelectorRequirement(LabelRequirement):
    """One label that a node must have (or must not), and how many different values must stay open."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            *_VALUE_RULES,
            (
                "self.operator != 'In' || !has(self.minValues)"
                " || (has(self.values) && size(self.values) >= self.minValues)",
                _MIN_VALUES,
                ".minValues",
            ),
        )
    )

    min_values: int | None = Field(default=None, strict=True, ge=1, le=50)
    """The instance types left to choose from must offer at least so many different values of this label."""

    @model_validator(mode="after")
    def _values_are_enough(self) -> Self:
        if self.operator == "In" and self.min_values is not None and len(self.values) < self.min_values:
            raise fault(_MIN_VALUES, at="minValues")
        return self

    def line(self) -> dict[str, Any]:
        """With the number of values that must stay open."""
        return {**super().line(), "minValues": self.min_values}


class PoolRequirement(NodeSelectorRequirement):
    """A requirement of a pool, which may not name the pool itself."""

    key: PoolLabelKey
    """The label. Deprecated ``beta.kubernetes.io`` names stand for their successors."""


def _natural(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) < 2**63


def to_requirements(items: Iterable[LabelRequirement], *, fixed: Mapping[str, str], path: str) -> Requirements:
    """In the planner's algebra, with fixed labels folded in.

    A NotIn without values excludes nothing, so it says nothing.

    :raises ConfigError: with ``path[index]`` in front
    """
    lines = [item.line() for item in items if item.values or item.operator != "NotIn"]
    return Requirements.from_list(lines, path=path) & Requirements.from_labels(fixed)


class Taint(Model):
    """Keeps away the pods that don't tolerate it."""

    key: str = Field(min_length=1, pattern=QUALIFIED_NAME)
    """The taint's name, perhaps with a domain before it."""
    value: str | None = Field(default=None, pattern=QUALIFIED_NAME)
    """What a toleration with operator Equal must repeat."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    """What happens to pods without a toleration."""
    time_added: Time | None = None
    """Set by Kubernetes when a NoExecute taint appears on a node."""

    def to_model(self) -> TaintModel:
        return TaintModel(self.key, self.value or "", self.effect)

    @classmethod
    def from_model(cls, taint: TaintModel) -> Taint:
        given = {"value": taint.value} if taint.value else {}
        return cls.model_validate({"key": taint.key, "effect": taint.effect, **given})


def _present(value: str) -> str:
    if not value:
        raise fault("it must not be empty")
    return value


def _reference(name: str, *, pattern: str | None = None) -> Any:
    return Field(pattern=pattern, json_schema_extra=cel(("self != ''", f"{name} must not be empty")))


Present = Annotated[str, AfterValidator(_present)]


class NodeClassReference(Model):
    """Which node class describes the machines; its group and kind choose the provider."""

    group: Present = _reference("group", pattern=GROUP)
    """API group of the node class, without a version: ``autonodes.io``."""
    kind: Present = _reference("kind")
    """Kind of the node class: ``LocalNodeClass``."""
    name: Present = _reference("name")
    """Name of the node class object."""

    def to_model(self) -> tuple[str, str, str]:
        """(group, kind, name)"""
        return self.group, self.kind, self.name
