"""The sizes that machines can have, and what a machine must have so that its node shows such a size.

A type's size is what its node shows as allocatable. The machine gets more: what the kernel keeps for itself, what
containerd and the kubelet need, and what the kubelet keeps free. A node may then show a little more than was promised,
never less.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from autonodes.api.libvirtnodeclass import LibvirtInstanceType, LibvirtNodeClass, LibvirtNodeClassSpec, PciDevice
from autonodes.api.validation import explain
from autonodes.core import labels
from autonodes.core.errors import ConfigError
from autonodes.core.model import InstanceType, Offering
from autonodes.core.quantities import parse_resource
from autonodes.core.requirements import Requirement, Requirements
from autonodes.provider import NodeClassNotReadyError

REGION: Final = "libvirt"
ARCH: Final = "amd64"

SYSTEM_RESERVED: Final = 250 * 2**20
"""Bytes for containerd, kubelet and what else is no pod."""
EVICTION: Final = 100 * 2**20
"""Bytes that the kubelet keeps free: it evicts pods when less is left (its own default)."""
_KERNEL: Final = 80 * 2**20
_KERNEL_SHARE: Final = 0.03
"""What the kernel has taken before it says how much there is: its image, and a descriptor for each page."""
_MIB: Final = 2**20
_GIB: Final = 2**30

DISK_EVICTION: Final = 500 * _MIB
_DISK_SHARE: Final = 0.94
"""Of the disk is left when the file system has its own."""

_SHAPES: Final = (
    ("libvirt.small", 1, 1),
    ("libvirt.medium", 2, 2),
    ("libvirt.large", 2, 4),
    ("libvirt.xlarge", 4, 8),
    ("libvirt.2xlarge", 8, 16),
    ("libvirt.4xlarge", 16, 32),
)
"""Name, cores, GiB; price as of a common cloud, so that plans look familiar."""
_CORE_PRICE: Final = 0.02
_GIB_PRICE: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """``cpu`` in millicores and ``memory`` in bytes for pods, ``disk`` in bytes, ``price`` in dollars an hour."""

    name: str
    cpu: int
    memory: int
    disk: int
    pods: int
    price: float
    devices: tuple[PciDevice, ...] = field(default=())

    @property
    def vcpus(self) -> int:
        return vcpus(self.cpu)

    @property
    def machine_memory(self) -> int:
        return machine_memory(self.memory)

    @property
    def resources(self) -> dict[str, int]:
        """Extended resources that its devices give."""
        counts: dict[str, int] = {}
        for device in self.devices:
            counts[device.resource] = counts.get(device.resource, 0) + device.count
        return counts


def vcpus(cpu: int) -> int:
    """Cores of a machine, for so many millicores for pods."""
    return math.ceil(cpu / 1000)


def machine_memory(memory: int) -> int:
    """Bytes that a machine has, a whole number of MiB, for so many bytes for pods."""
    wanted = (memory + SYSTEM_RESERVED + EVICTION + _KERNEL) * (1 + _KERNEL_SHARE)
    return math.ceil(wanted / _MIB) * _MIB


def parsed(node_class: Mapping[str, Any]) -> LibvirtNodeClassSpec:
    """:raises NodeClassNotReadyError: it can't be read, or says what can't be together"""
    try:
        spec = LibvirtNodeClass.from_api({"spec": node_class.get("spec") or {}}).spec
    except ValidationError as error:
        faults = "; ".join(map(str, explain(error, LibvirtNodeClass)))
        raise NodeClassNotReadyError(faults) from error
    uris = [each.uri for each in spec.hypervisors]
    if len(set(uris)) < len(uris):
        raise NodeClassNotReadyError("spec.hypervisors: two have the same uri; give each once")
    if spec.secure_boot and (spec.firmware != "uefi" or spec.image is None or spec.image.kernel is not None):
        raise NodeClassNotReadyError(
            "spec.secureBoot: needs firmware: uefi, and an image that boots by itself (spec.image without kernel)"
        )
    return spec


def shapes(spec: LibvirtNodeClassSpec) -> tuple[Shape, ...]:
    """The sizes of a node class, in its own order.

    :raises NodeClassNotReadyError: one of them can't be read
    """
    if not spec.instance_types:
        return tuple(_default_shape(*shape) for shape in _SHAPES)
    try:
        found = tuple(_shape(each, f"spec.instanceTypes[{index}]") for index, each in enumerate(spec.instance_types))
    except ConfigError as error:
        raise NodeClassNotReadyError(str(error)) from error
    if len({shape.name for shape in found}) < len(found):
        raise NodeClassNotReadyError("spec.instanceTypes: two have the same name; give each its own")
    return found


def zones(spec: LibvirtNodeClassSpec) -> tuple[str, ...]:
    """In the order of the hypervisors, each once."""
    return tuple(dict.fromkeys(each.zone for each in spec.hypervisors))


def instance_types(spec: LibvirtNodeClassSpec, available: Callable[[Shape, str], bool]) -> tuple[InstanceType, ...]:
    """:param available: whether a machine of that shape can be had in that zone now"""
    places = zones(spec)
    return tuple(_instance_type(shape, places, available) for shape in shapes(spec))


def static_hash(spec: LibvirtNodeClassSpec) -> str:
    """Of what every machine of the class has in common. Types, hypervisors and the image are looked at one by one."""
    common = spec.model_dump(mode="json", exclude={"hypervisors", "instance_types", "image"})
    return hashlib.sha256(json.dumps(common, sort_keys=True).encode()).hexdigest()[:16]


def node_labels(instance_type: str, zone: str) -> dict[str, str]:
    """What a machine's Node shows."""
    return {
        labels.INSTANCE_TYPE: instance_type,
        labels.ZONE: zone,
        labels.REGION: REGION,
        labels.CAPACITY_TYPE: labels.CAPACITY_ON_DEMAND,
        labels.ARCH: ARCH,
        labels.OS: "linux",
    }


def capacity(cpu: int, memory: int, disk: int, pods: int, resources: Mapping[str, int]) -> dict[str, int]:
    """What a machine has for pods."""
    storage = max(0, int(disk * _DISK_SHARE) - DISK_EVICTION)
    return {"cpu": cpu, "memory": memory, "pods": pods, "ephemeral-storage": storage, **resources}


def system_reserved(cpu: int) -> dict[str, str]:
    """What the kubelet hides: of a type with half a core the other half, too."""
    return {"cpu": f"{vcpus(cpu) * 1000 - cpu}m", "memory": str(SYSTEM_RESERVED)}


def _default_shape(name: str, cores: int, gibibytes: int) -> Shape:
    price = round(cores * _CORE_PRICE + gibibytes * _GIB_PRICE, 4)
    return Shape(name=name, cpu=1000 * cores, memory=gibibytes * _GIB, disk=20 * _GIB, pods=110, price=price)


def _shape(given: LibvirtInstanceType, path: str) -> Shape:
    return Shape(
        name=given.name,
        cpu=parse_resource("cpu", given.cpu, path=f"{path}.cpu", capacity=True),
        memory=parse_resource("memory", given.memory, path=f"{path}.memory", capacity=True),
        disk=parse_resource("ephemeral-storage", given.disk, path=f"{path}.disk", capacity=True),
        pods=given.pods,
        price=given.price,
        devices=given.devices,
    )


def _instance_type(shape: Shape, places: Sequence[str], available: Callable[[Shape, str], bool]) -> InstanceType:
    fixed = {labels.INSTANCE_TYPE: shape.name, labels.ARCH: ARCH, labels.OS: "linux", labels.REGION: REGION}
    return InstanceType(
        name=shape.name,
        requirements=Requirements(Requirement.of(key, "In", [value]) for key, value in fixed.items())
        & Requirements(
            [
                Requirement.of(labels.ZONE, "In", list(places)),
                Requirement.of(labels.CAPACITY_TYPE, "In", [labels.CAPACITY_ON_DEMAND]),
            ]
        ),
        capacity=capacity(shape.cpu, shape.memory, shape.disk, shape.pods, shape.resources),
        overhead={},
        offerings=tuple(
            Offering(
                zone=zone,
                capacity_type=labels.CAPACITY_ON_DEMAND,
                price=shape.price,
                available=available(shape, zone),
            )
            for zone in places
        ),
    )
