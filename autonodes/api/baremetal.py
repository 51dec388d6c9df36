"""``BareMetalHost`` and ``MetalNodeClass``: an inventory of machines of one's own, and how they become nodes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field
from pydantic.config import JsonDict

from autonodes.api import columns
from autonodes.api.columns import column
from autonodes.api.conditions import CompleteConditions
from autonodes.api.nodeclass import GPU, Name, NodeClassStatus
from autonodes.api.objects import CustomResource, Duration, Model, ObjectMeta, Quantity

WipeLevel = Literal["metadata", "full", "secure-erase"]
_SET: Final[JsonDict] = {"x-kubernetes-list-type": "set"}
_NAME_RULE: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


class BMC(Model):
    """How its management controller is reached."""

    address: Annotated[str, Field(pattern=r"^https?://[^/@\s]+/[^\s@]+$", max_length=253)]
    """The Redfish URL of the system, such as https://bmc-17/redfish/v1/Systems/1."""
    credentials_secret: Annotated[str, Field(pattern=_NAME_RULE, max_length=253)]
    """A Secret in kube-system with username and password; with ca.crt too, its certificate must come from there."""
    skip_certificate_check: bool = Field(default=False, strict=True)
    """Take any certificate: whoever is on the management network can then read the password."""


class BareMetalHostSpec(Model):
    bmc: BMC
    """Its management controller."""
    instance_type: Name
    """Hosts of one type are alike; becomes the label node.kubernetes.io/instance-type."""
    zone: Name
    """Where it stands: a rack, a room; becomes the label topology.kubernetes.io/zone."""
    cpu: Quantity
    """Cores for pods."""
    memory: Quantity
    """Memory for pods."""
    pods: int = Field(default=110, strict=True, ge=1, le=1024)
    """How many pods may run on it."""
    arch: Literal["amd64", "arm64"] = "amd64"
    """Becomes the label kubernetes.io/arch."""
    price: float = Field(strict=True, ge=0)
    """US dollars an hour, whatever makes it compare with other pools as you like."""
    gpu: GPU | None = None
    """Its GPUs, all of one kind."""
    reserved_for: Annotated[tuple[Name, ...], Field(max_length=50, json_schema_extra=_SET)] = ()
    """Tenants (clusters, by name) that may have it; anybody if none is given. One at a time in any case."""
    wipe: WipeLevel = "full"
    """What must be proven before somebody else gets it."""


class BareMetalHostStatus(Model):
    state: str = ""
    """Registering, Inspecting, Available, Provisioning, Provisioned, Cleaning or Quarantined."""
    since: float = 0.0
    """When it took this state, in seconds since the epoch."""
    step: str = ""
    """What is being done in this state; empty while it waits for its turn or for somebody."""
    step_since: float = 0.0
    """When that was begun, in seconds since the epoch."""
    attempts: int = 0
    """How often this state's work was begun."""
    flaps: tuple[float, ...] = ()
    """When its attempts failed lately."""
    system_uuid: str = ""
    """What its controller calls the machine: no two hosts that are used have the same."""
    claim: str = ""
    """UID of the NodeClaim that has it."""
    ledger_head: str = ""
    """Hash of its newest ledger entry."""
    generation: int = 0
    """Of the spec that a quarantined host was last tried with."""
    conditions: CompleteConditions = ()
    """Ready says whether it can be used, and if not, why."""
    facts: dict[str, str] = Field(default_factory=dict)
    """What its controller says of it."""


class BareMetalHost(CustomResource):
    """A machine with a management controller."""

    plural: ClassVar = "baremetalhosts"
    short_names: ClassVar = ("bmh",)
    columns: ClassVar = (
        column("State", ".status.state"),
        column("Type", ".spec.instanceType"),
        column("Zone", ".spec.zone"),
        column("Claim", ".status.claim", wide=True),
        columns.READY,
        columns.AGE,
    )

    api_version: Literal["autonodes.io/v1alpha1"] = "autonodes.io/v1alpha1"
    kind: Literal["BareMetalHost"] = "BareMetalHost"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: BareMetalHostSpec
    status: BareMetalHostStatus = Field(default_factory=BareMetalHostStatus)


class MetalNodeClassSpec(Model):
    host_selector: Annotated[dict[str, str], Field(max_length=20)] = Field(default_factory=dict)
    """Labels that a host must have; all hosts if none is given."""
    image: Annotated[str, Field(min_length=1, max_length=2000)]
    """URL of the image that becomes a node, as the management controller fetches it. It is booted from virtual media,
    with the seed of its host on a second drive."""
    boot_timeout: Duration = "15m"
    """How long one attempt to boot may take until the node joins."""


class MetalNodeClass(CustomResource):
    """Nodes on bare metal."""

    plural: ClassVar = "metalnodeclasses"
    categories: ClassVar = ("karpenter",)
    short_names: ClassVar = ("metalnc",)
    columns: ClassVar = (columns.READY, columns.AGE)

    api_version: Literal["autonodes.io/v1alpha1"] = "autonodes.io/v1alpha1"
    kind: Literal["MetalNodeClass"] = "MetalNodeClass"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: MetalNodeClassSpec
    status: NodeClassStatus = Field(default_factory=NodeClassStatus)
