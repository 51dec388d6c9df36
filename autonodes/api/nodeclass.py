"""``autonodes.io/v1alpha1`` node classes: what the machines of a provider are like, and what they cost."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field
from pydantic.config import JsonDict

from autonodes.api import columns
from autonodes.api.columns import column
from autonodes.api.conditions import CompleteConditions
from autonodes.api.devices import DraDevices
from autonodes.api.objects import CustomResource, LabelValue, Model, ObjectMeta, Quantity
from autonodes.api.scheduling import ATOMIC
from autonodes.core.labels import CAPACITY_ON_DEMAND, CAPACITY_SPOT

GROUP: Final = "autonodes.io"

_SET: Final[JsonDict] = {"x-kubernetes-list-type": "set"}
_BY_NAME: Final[JsonDict] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
_MOST_TYPES: Final = 1000
_MOST_ZONES: Final = 50

Name = Annotated[LabelValue, Field(min_length=1)]
Zones = Annotated[tuple[Name, ...], Field(max_length=_MOST_ZONES, json_schema_extra=_SET)]


class InstanceTypeSpec(Model):
    """A size of machine."""

    name: Name
    """Becomes the label node.kubernetes.io/instance-type."""
    cpu: Quantity
    """Cores for pods."""
    memory: Quantity
    """Memory for pods, such as 4Gi."""
    pods: int = Field(default=110, strict=True, ge=1, le=1024)
    """How many pods may run on it."""
    price: float = Field(strict=True, ge=0)
    """US dollars an hour. On hardware of your own, whatever makes the sizes compare as you like; it must be given, for
    nothing is bought without a price."""


class GPU(Model):
    """As NVIDIA's GPU feature discovery would label the node."""

    product: Name
    """Such as NVIDIA-H100-80GB-HBM3."""
    count: int = Field(strict=True, ge=1, le=64)
    """Becomes the node's nvidia.com/gpu."""
    memory: Quantity = "0"
    """Of each, such as 80Gi."""


class NodeClassStatus(Model):
    conditions: CompleteConditions = ()
    """Ready says whether the provider can use this node class, and if not, why."""


class LocalInstanceType(InstanceTypeSpec):
    gpu: GPU | None = None
    """What a device plug-in on the node will show: for trying out, this machine need not have any."""


class LocalNodeClassSpec(Model):
    instance_types: Annotated[
        tuple[LocalInstanceType, ...], Field(max_length=_MOST_TYPES, json_schema_extra=_BY_NAME)
    ] = ()
    """The sizes to choose from; without any, a small catalogue that suits this machine."""
    zones: Zones = ()
    """Names of zones that nodes are spread over (all of them are this machine); one zone if none is given."""


class LocalNodeClass(CustomResource):
    """Nodes on this machine, each in namespaces and a cgroup of its own."""

    plural: ClassVar = "localnodeclasses"
    categories: ClassVar = ("karpenter",)
    short_names: ClassVar = ("localnc",)
    columns: ClassVar = (columns.READY, columns.AGE, column("Zones", ".spec.zones", wide=True))

    api_version: Literal["autonodes.io/v1alpha1"] = "autonodes.io/v1alpha1"
    kind: Literal["LocalNodeClass"] = "LocalNodeClass"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: LocalNodeClassSpec = Field(default_factory=LocalNodeClassSpec)
    status: NodeClassStatus = Field(default_factory=NodeClassStatus)


class KwokInstanceType(InstanceTypeSpec):
    arch: Literal["amd64", "arm64"] = "amd64"
    """Becomes the label kubernetes.io/arch."""
    os: Literal["linux", "windows"] = "linux"
    """Becomes the label kubernetes.io/os."""
    capacity_types: tuple[Literal["spot", "on-demand"], ...] = Field(
        default=(CAPACITY_SPOT, CAPACITY_ON_DEMAND), min_length=1, json_schema_extra=_SET
    )
    """How it can be bought; spot costs seven tenths of the price."""
    dra_devices: Annotated[tuple[DraDevices, ...], Field(max_length=16, json_schema_extra=ATOMIC)] = ()
    """Devices for ResourceClaims. The simulated driver of its nodes publishes them."""


class OfferingSelector(Model):
    """Offerings that match every field that is given."""

    instance_type: Name | None = None
    """Name of the instance type; any if not given."""
    zone: Name | None = None
    """Any if not given."""
    capacity_type: Literal["spot", "on-demand"] | None = None
    """Any if not given."""


class KwokNodeClassSpec(Model):
    instance_types: Annotated[
        tuple[KwokInstanceType, ...], Field(max_length=_MOST_TYPES, json_schema_extra=_BY_NAME)
    ] = ()
    """The sizes to choose from; without any, a catalogue of 72: 1 to 256 cores, 2, 4 or 8 GiB a core, two
    architectures."""
    zones: Zones = ()
    """The zones to choose from; without any, test-zone-a to test-zone-d."""
    sold_out: tuple[OfferingSelector, ...] = Field(default=(), max_length=_MOST_TYPES)
    """Offerings that can't be bought for now, to see what happens then."""


class KwokNodeClass(CustomResource):
    """Simulated nodes: real Node objects that kwok keeps Ready and whose pods it declares Running."""

    plural: ClassVar = "kwoknodeclasses"
    categories: ClassVar = ("karpenter",)
    short_names: ClassVar = ("kwoknc",)
    columns: ClassVar = (columns.READY, columns.AGE, column("Zones", ".spec.zones", wide=True))

    api_version: Literal["autonodes.io/v1alpha1"] = "autonodes.io/v1alpha1"
    kind: Literal["KwokNodeClass"] = "KwokNodeClass"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: KwokNodeClassSpec = Field(default_factory=KwokNodeClassSpec)
    status: NodeClassStatus = Field(default_factory=NodeClassStatus)
