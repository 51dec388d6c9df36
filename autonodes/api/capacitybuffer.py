"""``autoscaling.x-k8s.io/v1beta1`` CapacityBuffer: room that is kept for pods to come.

The kind is SIG Autoscaling's; other autoscalers read it, too. Its definition is installed where it is missing and left
alone where it is there.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from autonodes.api import columns
from autonodes.api.columns import column
from autonodes.api.conditions import CompleteConditions
from autonodes.api.objects import CustomResource, Int32, Int64, Model, ObjectMeta, Quantity, cel, fault

ACTIVE: Final = "buffer.x-k8s.io/active-capacity"
"""The one strategy that is served: nodes are bought until the buffer has its room."""

READY_FOR_PROVISIONING: Final = "ReadyForProvisioning"
PROVISIONING: Final = "Provisioning"

_ONE_REFERENCE: Final = "podTemplateRef and scalableRef exclude each other: give one"
_SIZE: Final = "with podTemplateRef give replicas or limits, too"


class LocalReference(Model):
    name: str = Field(min_length=1)
    """Its name."""


class ScalableReference(Model):
    api_group: str | None = None
    """Its API group; apps if none is given."""
    kind: str = Field(min_length=1)
    """Its kind: Deployment, StatefulSet or ReplicaSet."""
    name: str = Field(min_length=1)
    """Its name."""


class CapacityBufferSpec(Model):
    model_config = ConfigDict(
        json_schema_extra=cel(
            ("!(has(self.podTemplateRef) && has(self.scalableRef))", _ONE_REFERENCE),
            ("!has(self.podTemplateRef) || has(self.replicas) || has(self.limits)", _SIZE),
        )
    )

    provisioning_strategy: str = ACTIVE
    """How the room is kept; buffers of a strategy that this controller does not know are left to others."""
    pod_template_ref: LocalReference | None = None
    """A PodTemplate of the same namespace: the pod that there must be room for."""
    scalable_ref: ScalableReference | None = None
    """A workload of the same namespace: there must be room for more of its pods."""
    replicas: Annotated[Int32, Field(ge=0)] | None = None
    """For how many pods there must be room."""
    percentage: Annotated[Int32, Field(ge=0)] | None = None
    """The same as a percentage of the workload's pods, rounded up to at least one; the greater number counts."""
    limits: dict[str, Quantity] = Field(default_factory=dict)
    """No more room is kept than this; with neither replicas nor percentage, as much as this."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.pod_template_ref is not None and self.scalable_ref is not None:
            raise fault(_ONE_REFERENCE, at="scalableRef")
        if self.pod_template_ref is not None and self.replicas is None and not self.limits:
            raise fault(_SIZE, at="replicas")
        return self


class CapacityBufferStatus(Model):
    pod_template_ref: LocalReference | None = None
    """The PodTemplate that was found."""
    replicas: Int32 | None = None
    """For how many pods room is kept."""
    pod_template_generation: Int64 | None = None
    """The generation of that PodTemplate."""
    conditions: CompleteConditions = ()
    """ReadyForProvisioning says whether the pod could be found, Provisioning whether there is room for all of them."""
    provisioning_strategy: str | None = None
    """The strategy that is followed."""


class CapacityBuffer(CustomResource):
    """Room that is kept for pods to come."""

    plural: ClassVar = "capacitybuffers"
    scope: ClassVar = "Namespaced"
    categories: ClassVar = ("autoscaling",)
    short_names: ClassVar = ("cb",)
    columns: ClassVar = (
        column("Strategy", ".spec.provisioningStrategy"),
        column("PodTemplate", ".status.podTemplateRef.name"),
        column("Replicas", ".status.replicas", "integer"),
        column("ConditionsType", ".status.conditions[*].type"),
        column("ConditionsStatus", ".status.conditions[*].status"),
        column("ConditionsReason", ".status.conditions[*].reason"),
        columns.AGE,
    )

    api_version: Literal["autoscaling.x-k8s.io/v1beta1"] = "autoscaling.x-k8s.io/v1beta1"
    kind: Literal["CapacityBuffer"] = "CapacityBuffer"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: CapacityBufferSpec
    status: CapacityBufferStatus = Field(default_factory=CapacityBufferStatus)
