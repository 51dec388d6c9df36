"""``karpenter.sh/v1alpha1`` NodeOverlay: prices and capacity that the user knows better than the provider."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from autonodes.api import columns
from autonodes.api.columns import column
from autonodes.api.conditions import CompleteConditions, find_condition
from autonodes.api.objects import CustomResource, Int32, Model, ObjectMeta, Quantity, cel, fault
from autonodes.api.scheduling import ATOMIC, MAX_REQUIREMENTS, LabelRequirement, to_requirements
from autonodes.core.overlays import Overlay
from autonodes.core.quantities import parse_resources

VALIDATION_SUCCEEDED: Final = "ValidationSucceeded"
READY_DEPENDENTS: Final = (VALIDATION_SUCCEEDED,)
"""The conditions that add up to an overlay's ``Ready``."""

PRICE: Final = r"^\d+(\.\d+)?$"
ADJUSTMENT: Final = r"^(([+-]{1}(\d*\.?\d+))|(\+{1}\d*\.?\d+%)|(^(-\d{1,2}(\.\d+)?%)$)|(-100%))$"
"""The patterns as the published schema has them, so that both accept the same."""

_ONE_PRICE: Final = "price and priceAdjustment exclude each other: give one"
_NOT_IN: Final = "operator NotIn needs at least one value"
_KNOWN_RESOURCES: Final = ("cpu", "memory", "ephemeral-storage", "pods")
_RESOURCES: Final = "cpu, memory, ephemeral-storage and pods are the provider's to say: add other resources only"


class OverlayRequirement(LabelRequirement):
    """One label of the machines that are meant."""

    @model_validator(mode="after")
    def _excludes_something(self) -> Self:
        if self.operator == "NotIn" and not self.values:
            raise fault(_NOT_IN, at="values")
        return self


class NodeOverlaySpec(Model):
    model_config = ConfigDict(json_schema_extra=cel(("!has(self.price) || !has(self.priceAdjustment)", _ONE_PRICE)))

    requirements: tuple[OverlayRequirement, ...] = Field(
        max_length=MAX_REQUIREMENTS,
        json_schema_extra={
            **ATOMIC,
            **cel(("self.all(x, x.operator != 'NotIn' || (has(x.values) && size(x.values) > 0))", _NOT_IN)),
        },
    )
    """Which machines are meant, by their labels: well-known ones, and those of a NodePool's template."""
    price_adjustment: Annotated[str, Field(pattern=ADJUSTMENT)] | None = None
    """What is added to their price or taken off: in dollars an hour (+0.05, -0.5) or in percent (+10%, -15%)."""
    price: Annotated[str, Field(pattern=PRICE)] | None = None
    """Their price in dollars an hour, in place of the provider's."""
    capacity: dict[str, Quantity] = Field(
        default_factory=dict,
        json_schema_extra=cel((f"self.all(x, !(x in {list(_KNOWN_RESOURCES)}))", _RESOURCES)),
    )
    """Resources that they have beside those that the provider knows of, such as a device plugin's."""
    weight: Annotated[Int32, Field(ge=1, le=10_000)] | None = None
    """Where several overlays change the same, that of the highest weight does; none counts as 0."""

    @model_validator(mode="after")
    def _means_one_thing(self) -> Self:
        if self.price is not None and self.price_adjustment is not None:
            raise fault(_ONE_PRICE, at="priceAdjustment")
        if set(self.capacity).intersection(_KNOWN_RESOURCES):
            raise fault(_RESOURCES, at="capacity")
        return self


class NodeOverlayStatus(Model):
    conditions: CompleteConditions = ()
    """ValidationSucceeded, and Ready as its sum."""


class NodeOverlay(CustomResource):
    """A correction of the prices or the capacity of some machines, for planning."""

    plural: ClassVar = "nodeoverlays"
    categories: ClassVar = ("karpenter",)
    short_names: ClassVar = ("overlays",)
    columns: ClassVar = (
        columns.READY,
        columns.AGE,
        column("Weight", ".spec.weight", "integer", wide=True),
    )

    api_version: Literal["karpenter.sh/v1alpha1"] = "karpenter.sh/v1alpha1"
    kind: Literal["NodeOverlay"] = "NodeOverlay"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: NodeOverlaySpec
    status: NodeOverlayStatus = Field(default_factory=NodeOverlayStatus)

    @property
    def applies(self) -> bool:
        """Whether it was looked at as it is now, and found to contradict no other."""
        found = find_condition(self.status.conditions, VALIDATION_SUCCEEDED)
        return found is not None and (found.status, found.observed_generation) == ("True", self.metadata.generation)

    def to_model(self) -> Overlay:
        """For the planner.

        :raises ConfigError: it passes the schema and still means nothing; the path says where
        """
        spec = self.spec
        percent, surcharge = _adjustment(spec.price_adjustment or "")
        return Overlay(
            name=self.name,
            weight=spec.weight or 0,
            requirements=to_requirements(spec.requirements, fixed={}, path="spec.requirements"),
            price=None if spec.price is None else float(spec.price),
            percent=percent,
            surcharge=surcharge,
            capacity=parse_resources(spec.capacity, path="spec.capacity", capacity=True),
        )


def _adjustment(text: str) -> tuple[float, float]:
    """Percent and dollars."""
    if text.endswith("%"):
        return float(text[:-1]), 0.0
    return 0.0, float(text) if text else 0.0
