"""``BareMetalHost`` and ``MetalNodeClass``: an inventory of machines of one's own, and how they become nodes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from autonodes.api import columns
from autonodes.api.columns import column
from autonodes.api.conditions import CompleteConditions
from autonodes.api.nodeclass import GPU, Name, NodeClassStatus
from autonodes.api.objects import CustomResource, Duration, Model, ObjectMeta, Quantity, cel, fault

_ONE_WAY: Final = "give either bmc, or ssh for a host that is always on"
_NO_MEDIA: Final = "IPMI has no virtual media: write boot: pxe"
_NO_MAC: Final = "give the bootMac of the interface that it boots from"
_STAYS_ON: Final = "a host that is always on can only be reset: write wipe: metadata"

WipeLevel = Literal["metadata", "full", "secure-erase"]
_SET: Final[JsonDict] = {"x-kubernetes-list-type": "set"}
_NAME_RULE: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


class BMC(Model):
    """How its management controller is reached."""

    address: Annotated[str, Field(pattern=r"^(https?://[^/@\s]+/[^\s@]+|ipmi://[^/@\s]+)$", max_length=253)]
    """The Redfish URL of the system, such as https://bmc-17/redfish/v1/Systems/1; or ipmi://bmc-17, for IPMI 2.0."""
    credentials_secret: Annotated[str, Field(pattern=_NAME_RULE, max_length=253)]
    """A Secret in kube-system with username and password; with ca.crt too, its certificate must come from there."""
    skip_certificate_check: bool = Field(default=False, strict=True)
    """Take any certificate: whoever is on the management network can then read the password."""


class SSH(Model):
    """How a host that is always on is logged into."""

    address: Annotated[str, Field(pattern=r"^[^/@\s:]+$", max_length=253)]
    """Its name or IPv4 address."""
    port: int = Field(default=22, strict=True, ge=1, le=65535)
    """Where sshd listens."""
    host_key: Annotated[str, Field(pattern=r"^(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/=]+$", max_length=2000)]
    """Its public key, such as "ssh-ed25519 AAAA...": nothing is told to a host that shows another one."""
    credentials_secret: Annotated[str, Field(pattern=_NAME_RULE, max_length=253)]
    """A Secret in kube-system with ssh-privatekey, and username if it is not root: it must be able to do all that
    root can."""


class BareMetalHostSpec(Model):
    model_config = ConfigDict(
        json_schema_extra=cel(
            ("has(self.bmc) != has(self.ssh)", _ONE_WAY),
            ("!has(self.bmc) || !self.bmc.address.startsWith('ipmi:') || self.boot == 'pxe'", _NO_MEDIA),
            ("self.boot != 'pxe' || has(self.bootMac)", _NO_MAC),
            ("!has(self.ssh) || self.wipe == 'metadata'", _STAYS_ON),
        )
    )

    bmc: BMC | None = None
    """Its management controller."""
    ssh: SSH | None = None
    """Instead of a management controller: a host that is always on, and has the components installed."""
    boot: Literal["virtual-media", "pxe"] = "virtual-media"
    """What it boots from: drives that its management controller shows it, or the network."""
    boot_mac: Annotated[str, Field(pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")] | None = None
    """Address of the interface that it boots from, when it boots from the network."""
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

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if (self.bmc is None) == (self.ssh is None):
            raise fault(_ONE_WAY)
        if self.bmc is not None and self.bmc.address.startswith("ipmi:") and self.boot != "pxe":
            raise fault(_NO_MEDIA, at="boot")
        if self.boot == "pxe" and self.boot_mac is None:
            raise fault(_NO_MAC, at="bootMac")
        if self.ssh is not None and self.wipe != "metadata":
            raise fault(_STAYS_ON, at="wipe")
        return self

    @property
    def address(self) -> str:
        """Of what it is reached by: no two hosts have the same."""
        if self.ssh is not None:
            return f"ssh://{self.ssh.address}:{self.ssh.port}"
        assert self.bmc is not None  # noqa: S101 -- validated
        return self.bmc.address.rstrip("/")

    @property
    def credentials_secret(self) -> str:
        given = self.bmc or self.ssh
        assert given is not None  # noqa: S101 -- validated
        return given.credentials_secret


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
    """URL of the image that becomes a node. From virtual media it is booted as it is, with the seed of its host on a
    second drive; from the network it is an iPXE script, which finds its host's seed at ${seed-url}. Hosts that are
    always on have no use for it."""
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
