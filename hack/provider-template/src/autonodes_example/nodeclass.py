"""``ExampleNodeClass``: what a user can choose. The definition that the API server serves is made from it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from autonodes.api import columns
from autonodes.api.nodeclass import InstanceTypeSpec, NodeClassStatus, Zones
from autonodes.api.objects import CustomResource, Model, ObjectMeta


class ExampleNodeClassSpec(Model):
    instance_types: tuple[InstanceTypeSpec, ...] = Field(default=(), max_length=100)
    """The sizes to choose from; without any there are two."""
    zones: Zones = ()
    """The zones to choose from; without any there are two."""


class ExampleNodeClass(CustomResource):
    """Machines of example."""

    plural: ClassVar = "examplenodeclasses"
    categories: ClassVar = ("karpenter",)
    columns: ClassVar = (columns.READY, columns.AGE)

    api_version: Literal["autonodes.io/v1alpha1"] = "autonodes.io/v1alpha1"
    kind: Literal["ExampleNodeClass"] = "ExampleNodeClass"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: ExampleNodeClassSpec = Field(default_factory=ExampleNodeClassSpec)
    status: NodeClassStatus = Field(default_factory=NodeClassStatus)
