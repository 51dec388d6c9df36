"""The sizes that nodes on this host can have.

A `LocalNodeClass` may list its own; without that there is a small catalogue of common shapes, cut off at what this host
has. The kubelet sees the whole host; a type's size is what it shows as allocatable, the rest is reserved. Several nodes
may together exceed the processors, which they share by weight, but not the memory bound.

A type too large for this host, or one that no longer fits beside the machines that are there, stays in the list with
its offerings unavailable: dropping it would mean drift.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from autonodes.core import labels
from autonodes.core.errors import ConfigError
from autonodes.core.gpus import gpu_labels
from autonodes.core.model import InstanceType, Offering
from autonodes.core.quantities import parse_resource
from autonodes.core.requirements import Requirement, Requirements
from autonodes.core.sharing import GPU
from autonodes.provider import NodeClassNotReadyError
from providers.local.host import Size

REGION: Final = "local"
ZONES: Final = ("local-a", "local-b", "local-c")
"""All of them are this host; they let workloads that spread over zones be tried out."""

PODS: Final = 110
"""The kubelet's default."""

MEMORY_EVICTION: Final = 100 * 2**20
"""Bytes that the kubelet keeps free: it evicts pods when less is left (its own default)."""

DISK_EVICTION: Final = 500 * 2**20
"""Bytes, absolute: the default is a tenth of the disk, and this host's may be fuller than that all the time."""

_GIB: Final = 2**30
_SHAPES: Final = (
    ("local.small", 1, 1),
    ("local.medium", 2, 2),
    ("local.large", 2, 4),
    ("local.xlarge", 4, 8),
    ("local.2xlarge", 8, 16),
    ("local.4xlarge", 16, 32),
    ("local.8xlarge", 32, 64),
)
"""Name, cores, GiB; price as of a common cloud, so that plans look familiar."""
_CORE_PRICE: Final = 0.02
_GIB_PRICE: Final = 0.005

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
ARCH: Final = _ARCHITECTURES.get(platform.machine(), platform.machine())


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A type as the catalogue has it: ``cpu`` in millicores, ``memory`` in bytes, ``price`` in dollars an hour."""

    name: str
    cpu: int
    memory: int
    pods: int
    price: float | None
    gpus: int = 0
    gpu_labels: Mapping[str, str] = field(default_factory=dict)

    def fits(self, host: Size) -> bool:
        """Whether a kubelet on this host can show it."""
        return self.cpu <= host.cpu and self.memory + MEMORY_EVICTION <= host.memory


def shapes(node_class: Mapping[str, Any], host: Size) -> tuple[Shape, ...]:
    """The sizes of a node class, in its own order.

    :raises NodeClassNotReadyError: one of them can't be read
    """
    own = node_class.get("spec", {}).get("instanceTypes") or ()
    if not own:
        return tuple(shape for shape in _default_shapes() if shape.fits(host))
    found = tuple(_shape(entry, f"spec.instanceTypes[{index}]") for index, entry in enumerate(own))
    if len({shape.name for shape in found}) < len(found):
        raise NodeClassNotReadyError("spec.instanceTypes: two have the same name; give each its own")
    return found


def zones(node_class: Mapping[str, Any]) -> tuple[str, ...]:
    """The zones that a node class offers."""
    return tuple(node_class.get("spec", {}).get("zones") or ZONES)


def instance_types(node_class: Mapping[str, Any], host: Size, *, free_memory: int) -> tuple[InstanceType, ...]:
    """:param free_memory: bytes that another machine may have"""
    places = zones(node_class)
    return tuple(
        _instance_type(shape, places, host, available=shape.fits(host) and shape.memory <= free_memory)
        for shape in shapes(node_class, host)
    )


def static_hash(node_class: Mapping[str, Any]) -> str:
    """Of what every machine of the class has in common; a type that changes concerns only its own machines."""
    spec = {key: value for key, value in node_class.get("spec", {}).items() if key not in ("instanceTypes", "zones")}
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def node_labels(shape_name: str, zone: str, capacity_type: str) -> dict[str, str]:
    """What a machine's Node shows."""
    return {
        labels.INSTANCE_TYPE: shape_name,
        labels.ZONE: zone,
        labels.REGION: REGION,
        labels.CAPACITY_TYPE: capacity_type,
        labels.ARCH: ARCH,
        labels.OS: "linux",
    }


def capacity(cpu: int, memory: int, pods: int, host: Size, *, gpus: int = 0) -> dict[str, int]:
    """What a machine of that size has for pods. The disk is the host's, shared by all."""
    size = {
        "cpu": cpu,
        "memory": memory,
        "pods": pods,
        "ephemeral-storage": max(0, host.disk - DISK_EVICTION),
    }
    return size | ({GPU: gpus} if gpus else {})


def system_reserved(cpu: int, memory: int, host: Size) -> dict[str, str]:
    """What the kubelet must hide of this host so that exactly the size is left as allocatable:
    capacity - reserved - eviction threshold (https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/).
    """
    return {"cpu": f"{host.cpu - cpu}m", "memory": str(max(0, host.memory - MEMORY_EVICTION - memory))}


def _default_shapes() -> Sequence[Shape]:
    return [
        Shape(
            name=name,
            cpu=1000 * cores,
            memory=gibibytes * _GIB,
            pods=PODS,
            price=round(cores * _CORE_PRICE + gibibytes * _GIB_PRICE, 4),
        )
        for name, cores, gibibytes in _SHAPES
    ]


def _shape(entry: Mapping[str, Any], path: str) -> Shape:
    try:
        price, gpu = entry.get("price"), entry.get("gpu") or {}
        memory = parse_resource("memory", gpu.get("memory", "0"), path=f"{path}.gpu.memory", capacity=True)
        return Shape(
            name=entry["name"],
            cpu=parse_resource("cpu", entry["cpu"], path=f"{path}.cpu", capacity=True),
            memory=parse_resource("memory", entry["memory"], path=f"{path}.memory", capacity=True),
            pods=int(entry.get("pods", PODS)),
            price=None if price is None else float(price),
            gpus=int(gpu.get("count", 0)),
            gpu_labels=gpu_labels(gpu["product"], int(gpu["count"]), memory) if gpu else {},
        )
    except ConfigError as error:
        raise NodeClassNotReadyError(str(error)) from error
    except KeyError as error:
        raise NodeClassNotReadyError(f"{path}.{error.args[0]}: missing; give name, cpu, memory and price") from error


def _instance_type(shape: Shape, places: Sequence[str], host: Size, *, available: bool) -> InstanceType:
    fixed = {labels.INSTANCE_TYPE: shape.name, labels.ARCH: ARCH, labels.OS: "linux", labels.REGION: REGION}
    fixed |= shape.gpu_labels
    return InstanceType(
        name=shape.name,
        requirements=Requirements(Requirement.of(key, "In", [value]) for key, value in fixed.items())
        & Requirements(
            [
                Requirement.of(labels.ZONE, "In", list(places)),
                Requirement.of(labels.CAPACITY_TYPE, "In", [labels.CAPACITY_ON_DEMAND]),
            ]
        ),
        capacity=capacity(shape.cpu, shape.memory, shape.pods, host, gpus=shape.gpus),
        overhead={},
        offerings=tuple(
            Offering(zone=zone, capacity_type=labels.CAPACITY_ON_DEMAND, price=shape.price, available=available)
            for zone in places
        ),
    )
