"""``LibvirtNodeClass``: virtual machines on hypervisors of one's own."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field
from pydantic.config import JsonDict

from autonodes.api import columns
from autonodes.api.columns import column
from autonodes.api.nodeclass import InstanceTypeSpec, Name, NodeClassStatus
from autonodes.api.objects import CustomResource, Model, ObjectMeta, Quantity

_BY_NAME: Final[JsonDict] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
_BY_URI: Final[JsonDict] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uri"]}
_MOST_TYPES: Final = 1000


class PciDevice(Model):
    """A device of the hypervisor that a machine of the type gets for itself."""

    vendor: Annotated[str, Field(pattern=r"^0x[0-9a-f]{4}$")]
    """As lspci -n shows it, such as 0x10de."""
    product: Annotated[str, Field(pattern=r"^0x[0-9a-f]{4}$")]
    """As lspci -n shows it, such as 0x20b0."""
    count: int = Field(default=1, strict=True, ge=1, le=64)
    """How many of them."""
    resource: Annotated[str, Field(min_length=1, max_length=253)] = "nvidia.com/gpu"
    """The extended resource that the node shows for each, by a device plug-in."""


class LibvirtInstanceType(InstanceTypeSpec):
    disk: Quantity = "20Gi"
    """Size of the root disk."""
    devices: Annotated[tuple[PciDevice, ...], Field(max_length=16)] = ()
    """PCI devices that are passed through, such as GPUs."""


class LibvirtHypervisor(Model):
    uri: Annotated[str, Field(min_length=1, max_length=500)]
    """As libvirt has it: qemu:///system, qemu+ssh://root@host/system, qemu+tls://host/system."""
    zone: Name = "libvirt"
    """The zone of its machines; several hypervisors may be in one."""
    cpu: Quantity | None = None
    """Virtual cores that all machines on it may have together; four for each of its cores if not given."""
    memory: Quantity | None = None
    """Memory that all machines on it may have together; nine tenths of its own if not given."""


class MachineImageSpec(Model):
    """What machines boot from; files on the controller's machine, which are uploaded to each hypervisor once."""

    disk: Annotated[str, Field(min_length=1)]
    """Path of a raw or qcow2 image that holds the programs of a node and heeds a NoCloud seed."""
    checksum: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """Of that file. Another content is refused."""
    kernel: str | None = None
    """Path of a kernel to boot; without, the firmware boots the disk."""
    initrd: str | None = None
    """Path of the kernel's initrd."""
    command_line: str = "console=ttyS0 quiet"
    """Of the kernel."""


class LibvirtNodeClassSpec(Model):
    hypervisors: Annotated[
        tuple[LibvirtHypervisor, ...], Field(min_length=1, max_length=500, json_schema_extra=_BY_URI)
    ] = (LibvirtHypervisor(uri="qemu:///system"),)
    """Where machines run. One that can't be reached is left out until it answers."""
    pool: str = "default"
    """The storage pool, which each hypervisor has, for disks."""
    network: str | None = None
    """The libvirt network, which each hypervisor has. Without, machines share the hypervisor's own access to the
    network (user mode): they reach out, nobody reaches them, and pods on two machines don't reach each other."""
    image: MachineImageSpec | None = None
    """Without, the image that is made from the pinned components."""
    instance_types: Annotated[
        tuple[LibvirtInstanceType, ...], Field(max_length=_MOST_TYPES, json_schema_extra=_BY_NAME)
    ] = ()
    """The sizes to choose from; without any, a small catalogue."""
    acceleration: Literal["auto", "kvm", "tcg"] = "auto"
    """kvm: the processor's virtualization; tcg: emulation, slow; auto: kvm where it is seen to work."""
    firmware: Literal["bios", "uefi"] = "bios"
    """What starts the machine; a kernel that is booted directly needs no UEFI."""
    secure_boot: bool = False
    """Only with UEFI, and with an image that boots by itself and is signed."""
    vtpm: bool = False
    """Gives each machine a TPM 2.0 of its own."""


class LibvirtNodeClass(CustomResource):
    """Virtual machines on libvirt hypervisors."""

    plural: ClassVar = "libvirtnodeclasses"
    categories: ClassVar = ("karpenter",)
    short_names: ClassVar = ("libvirtnc",)
    columns: ClassVar = (columns.READY, columns.AGE, column("Hypervisors", ".spec.hypervisors[*].uri", wide=True))

    api_version: Literal["autonodes.io/v1alpha1"] = "autonodes.io/v1alpha1"
    kind: Literal["LibvirtNodeClass"] = "LibvirtNodeClass"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: LibvirtNodeClassSpec = Field(default_factory=LibvirtNodeClassSpec)
    status: NodeClassStatus = Field(default_factory=NodeClassStatus)
