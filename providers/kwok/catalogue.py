"""The sizes that simulated nodes can have.

Without a list in the `KwokNodeClass` there are 72 generic Linux types, of the sizes and names that users of Karpenter's
own kwok provider know: 1 to 256 cores, 2, 4 or 8 GiB a core (families ``c``, ``s`` and ``m``), two architectures, each
in four zones, on demand and as spot. ``autonodes.io/instance-cpu`` and ``-memory`` let a pool ask for sizes by number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic import ValidationError

from autonodes.api.nodeclass import KwokInstanceType, KwokNodeClass, OfferingSelector
from autonodes.api.validation import explain
from autonodes.core import labels
from autonodes.core.devices import Device
from autonodes.core.errors import ConfigError
from autonodes.core.model import InstanceType, Offering
from autonodes.core.quantities import parse_resource
from autonodes.core.requirements import Requirement, Requirements
from autonodes.kube.devices import declared_devices
from autonodes.provider import NodeClassNotReadyError

REGION: Final = "test-region"
ZONES: Final = ("test-zone-a", "test-zone-b", "test-zone-c", "test-zone-d")
INSTANCE_CPU: Final = "autonodes.io/instance-cpu"
"""Label: cores, a whole number."""
INSTANCE_MEMORY: Final = "autonodes.io/instance-memory"
"""Label: mebibytes, a whole number."""

SPOT_SHARE: Final = 0.7
"""Of the on-demand price."""

_CORES: Final = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256)
_FAMILIES: Final = (("c", 2), ("s", 4), ("m", 8))
"""Name, and GiB a core."""
_ARCHITECTURES: Final = (("amd64", 1.0), ("arm64", 0.9))
"""Name, and its share of the price."""
_CORE_PRICE: Final = 0.03
_GIB_PRICE: Final = 0.004
"""Dollars an hour: about what a common cloud takes, so that plans look familiar."""
_PODS_PER_CORE: Final = 16
_MOST_PODS: Final = 1024
_MIB: Final = 2**20
_GIB: Final = 2**30
_DISK: Final = 20 * _GIB
_OVERHEAD: Final[Mapping[str, int]] = {"cpu": 100, "memory": 10 * _MIB}
"""What a generic type keeps for the system; a type of a node class shows its size as allocatable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """``cpu`` in millicores, ``memory`` in bytes, ``price`` on demand in dollars an hour."""

    name: str
    cpu: int
    memory: int
    pods: int
    arch: str
    os: str
    price: float
    capacity_types: Sequence[str]
    overhead: Mapping[str, int]
    devices: tuple[Device, ...] = ()


def instance_types(node_class: Mapping[str, Any]) -> tuple[InstanceType, ...]:
    """All types of a node class, those that are sold out too. The same tuple for the same spec.

    :raises NodeClassNotReadyError: the node class can't be read
    """
    return _instance_types(json.dumps(node_class.get("spec") or {}, sort_keys=True))


def node_labels(instance_type: InstanceType, offering: Offering) -> dict[str, str]:
    """What a machine's Node shows."""
    return instance_type.requirements.labels() | {
        labels.ZONE: offering.zone,
        labels.CAPACITY_TYPE: offering.capacity_type,
    }


@lru_cache(maxsize=16)
def _instance_types(spec: str) -> tuple[InstanceType, ...]:
    node_class = _parsed(json.loads(spec))
    try:
        sizes = [_own(item, index) for index, item in enumerate(node_class.spec.instance_types)] or list(_generic())
    except ConfigError as error:
        raise NodeClassNotReadyError(str(error)) from error
    if len({size.name for size in sizes}) < len(sizes):
        raise NodeClassNotReadyError("spec.instanceTypes: two have the same name; give each its own")
    places, sold_out = node_class.spec.zones or ZONES, node_class.spec.sold_out
    return tuple(_instance_type(size, places, sold_out) for size in sizes)


def _parsed(spec: Mapping[str, Any]) -> KwokNodeClass:
    try:
        return KwokNodeClass.from_api({"spec": spec})
    except ValidationError as error:
        faults = "; ".join(map(str, explain(error, KwokNodeClass)))
        raise NodeClassNotReadyError(faults) from error


def _own(item: KwokInstanceType, index: int) -> _Size:
    path = f"spec.instanceTypes[{index}]"
    return _Size(
        name=item.name,
        cpu=parse_resource("cpu", item.cpu, path=f"{path}.cpu", capacity=True),
        memory=parse_resource("memory", item.memory, path=f"{path}.memory", capacity=True),
        pods=item.pods,
        arch=item.arch,
        os=item.os,
        price=item.price,
        capacity_types=item.capacity_types,
        overhead={},
        devices=declared_devices(item.dra_devices),
    )


def _generic() -> Iterator[_Size]:
    for cores in _CORES:
        for family, gibibytes in _FAMILIES:
            for arch, share in _ARCHITECTURES:
                yield _Size(
                    name=f"{family}-{cores}x-{arch}-linux",
                    cpu=1000 * cores,
                    memory=cores * gibibytes * _GIB,
                    pods=min(cores * _PODS_PER_CORE, _MOST_PODS),
                    arch=arch,
                    os="linux",
                    price=cores * (_CORE_PRICE + gibibytes * _GIB_PRICE) * share,
                    capacity_types=(labels.CAPACITY_SPOT, labels.CAPACITY_ON_DEMAND),
                    overhead=_OVERHEAD,
                )


def _instance_type(size: _Size, places: Iterable[str], sold_out: Sequence[OfferingSelector]) -> InstanceType:
    fixed = {
        labels.INSTANCE_TYPE: size.name,
        labels.ARCH: size.arch,
        labels.OS: size.os,
        labels.REGION: REGION,
        INSTANCE_CPU: str(size.cpu // 1000),
        INSTANCE_MEMORY: str(size.memory // _MIB),
    }
    return InstanceType(
        name=size.name,
        requirements=Requirements(Requirement.of(key, "In", [value]) for key, value in fixed.items()),
        capacity={"cpu": size.cpu, "memory": size.memory, "pods": size.pods, "ephemeral-storage": _DISK},
        overhead=size.overhead,
        offerings=tuple(
            Offering(
                zone=zone,
                capacity_type=capacity_type,
                price=round(size.price * (SPOT_SHARE if capacity_type == labels.CAPACITY_SPOT else 1), 5),
                available=not any(_matches(each, size.name, zone, capacity_type) for each in sold_out),
            )
            for zone in places
            for capacity_type in size.capacity_types
        ),
        devices=size.devices,
    )


def _matches(selector: OfferingSelector, instance_type: str, zone: str, capacity_type: str) -> bool:
    asked = (selector.instance_type, selector.zone, selector.capacity_type)
    return all(
        want is None or want == have for want, have in zip(asked, (instance_type, zone, capacity_type), strict=True)
    )
