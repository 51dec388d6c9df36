"""What ``--catalog`` means: the built-in tables, or a file of instance types.

A file is YAML or JSON, a list (or a mapping with the list under ``instanceTypes``) of either form:

- ours::

    - name: big                       # becomes node.kubernetes.io/instance-type
      cpu: 16
      memory: 64Gi                    # both as a pod can use them
      resources: {nvidia.com/gpu: 1}  # further capacity; pods is 110 if it isn't given
      price: 0.80                     # dollars an hour; without it the type is never bought
      zones: [a, b]
      capacityTypes: [on-demand]
      arch: amd64
      labels: {example.com/disk: nvme}
      draDevices: [{driver: gpu.example.com, count: 2}]  # for ResourceClaims, as in a ResourceSlice

- Karpenter's for its kwok provider (``instance_types.json``): ``name``, ``architecture``, ``operatingSystems``,
  ``resources``, and ``offerings`` of ``Price``, ``Available`` and ``Requirements``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import Field

from autonodes.api.devices import DraDevices
from autonodes.api.objects import LabelValue, Model, Quantity
from autonodes.api.validation import validate
from autonodes.core import labels
from autonodes.core.errors import AutonodesError, ConfigError, InvalidDocumentError
from autonodes.core.model import InstanceType, Offering
from autonodes.core.quantities import parse_resource, parse_resources
from autonodes.core.requirements import Requirements
from autonodes.kube.devices import declared_devices

DEFAULT: Final = "ec2"
_KWOK_OVERHEAD: Final = {"cpu": 100, "memory": 10 * 2**20}
_KWOK_PREFIX: Final = "karpenter.kwok.sh/instance-"

Name = Annotated[LabelValue, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """:param name: for people: ``EC2 us-east-1, prices of 2025-03-02``
    :param default_pool: what the pool asks for that is taken when none is given
    :param faults: entries that are left out
    """

    name: str
    types: tuple[InstanceType, ...]
    default_pool: Requirements = field(default_factory=Requirements)
    faults: tuple[AutonodesError, ...] = ()


def open_catalogue(given: str) -> Catalogue:
    """:param given: ``ec2``, ``ec2:REGION``, ``kwok`` or a path
    :raises ConfigError: there is no such thing
    """
    name, _, region = given.partition(":")
    if name == "ec2":
        return _ec2(region)
    if given == "kwok":
        from providers.kwok.catalogue import instance_types

        return Catalogue("kwok, simulated sizes and prices", instance_types({}))
    return _file(Path(given), given)


def _ec2(region: str) -> Catalogue:
    """Without a pool: machines that run amd64 images, and none whose CPU is throttled or that is long outdated."""
    from providers.aws.catalogue import DEFAULT_REGION, catalogue, origin
    from providers.aws.instancetypes import LABEL_PREFIX

    try:
        types = catalogue(region or DEFAULT_REGION)
    except ConfigError as error:
        raise ConfigError("--catalog", f"ec2:{region}", error.remedy) from None
    lines = [
        {"key": labels.ARCH, "operator": "In", "values": ["amd64"]},
        {"key": f"{LABEL_PREFIX}category", "operator": "NotIn", "values": ["t"]},
        {"key": f"{LABEL_PREFIX}generation", "operator": "Gt", "values": ["2"]},
    ]
    named = f"EC2 {region or DEFAULT_REGION}, on-demand prices of {origin().date}"
    return Catalogue(named, types, Requirements.from_list(lines))


def _file(path: Path, given: str) -> Catalogue:
    try:
        loaded = yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError("--catalog", given, "write ec2, ec2:REGION, kwok, or the path of a file") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError("--catalog", given, f"is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    entries = loaded.get("instanceTypes") if isinstance(loaded, Mapping) else loaded
    if not isinstance(entries, list) or not entries:
        raise ConfigError("--catalog", given, "write a list of instance types, or instanceTypes: with the list")
    types, faults = _entries(entries, given)
    return Catalogue(given, types, faults=faults)


def _entries(entries: Sequence[object], given: str) -> tuple[tuple[InstanceType, ...], tuple[AutonodesError, ...]]:
    types: dict[str, InstanceType] = {}
    faults: list[AutonodesError] = []
    for index, entry in enumerate(entries):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        source = f"{given}: instanceTypes[{index}]" + (f" {name}" if name else "")
        try:
            found = _entry(entry, source)
        except InvalidDocumentError as error:
            faults.append(error)
        except ConfigError as error:
            faults.append(InvalidDocumentError(source, [error]))
        else:
            if found.name in types:
                twice = ConfigError("name", found.name, "is another type's name already; the first counts")
                faults.append(InvalidDocumentError(source, [twice]))
            types.setdefault(found.name, found)
    return tuple(types.values()), tuple(faults)


def _entry(entry: object, source: str) -> InstanceType:
    if isinstance(entry, Mapping) and "operatingSystems" in entry:
        return _of_kwok(validate(_KwokType, entry, source=source))
    return _own(validate(_Type, entry, source=source))


class _Type(Model):
    name: Name
    cpu: Quantity
    memory: Quantity
    resources: dict[str, Quantity] = Field(default_factory=dict)
    price: Annotated[float, Field(gt=0)] | None = None
    zones: tuple[Name, ...] = ("zone-a",)
    capacity_types: tuple[Name, ...] = (labels.CAPACITY_ON_DEMAND,)
    arch: Name = "amd64"
    os: Name = "linux"
    labels: dict[str, LabelValue] = Field(default_factory=dict)
    dra_devices: tuple[DraDevices, ...] = ()


def _own(given: _Type) -> InstanceType:
    fixed = {**given.labels, labels.INSTANCE_TYPE: given.name, labels.ARCH: given.arch, labels.OS: given.os}
    amounts = {"pods": "110", **given.resources, "cpu": given.cpu, "memory": given.memory}
    return InstanceType(
        name=given.name,
        requirements=Requirements.from_labels(fixed),
        capacity={
            name: parse_resource(name, amount, path=name if name in ("cpu", "memory") else f"resources.{name}")
            for name, amount in amounts.items()
        },
        overhead={},
        offerings=tuple(
            Offering(zone=zone, capacity_type=capacity_type, price=given.price)
            for zone in given.zones
            for capacity_type in given.capacity_types
        ),
        devices=declared_devices(given.dra_devices),
    )


class _KwokRequirement(Model):
    key: str
    operator: str = "In"
    values: tuple[str, ...] = ()


class _KwokOffering(Model):
    price: float = Field(alias="Price")
    available: bool = Field(default=True, alias="Available")
    requirements: tuple[_KwokRequirement, ...] = Field(alias="Requirements")

    def value(self, key: str) -> str:
        found = next((each for each in self.requirements if each.key == key), None)
        if found is None or found.operator != "In" or len(found.values) != 1:
            raise ConfigError("offerings.Requirements", key, "name one value with In")
        return found.values[0]


class _KwokType(Model):
    name: Name
    architecture: Name
    operating_systems: tuple[Name, ...] = Field(min_length=1)
    resources: dict[str, Quantity]
    offerings: tuple[_KwokOffering, ...]


def _of_kwok(given: _KwokType) -> InstanceType:
    capacity = parse_resources(given.resources, capacity=True)
    fixed = {
        labels.INSTANCE_TYPE: given.name,
        labels.ARCH: given.architecture,
        f"{_KWOK_PREFIX}family": given.name.partition("-")[0],
        f"{_KWOK_PREFIX}size": _part(given.name, 1),
        f"{_KWOK_PREFIX}cpu": str(capacity.get("cpu", 0) // 1000),
        f"{_KWOK_PREFIX}memory": str(capacity.get("memory", 0) // 2**20),
    }
    systems: list[Mapping[str, Any]] = [{"key": labels.OS, "operator": "In", "values": given.operating_systems}]
    return InstanceType(
        name=given.name,
        requirements=Requirements.from_labels(fixed) & Requirements.from_list(systems),
        capacity=capacity,
        overhead=_KWOK_OVERHEAD,
        offerings=tuple(
            Offering(
                zone=each.value(labels.ZONE),
                capacity_type=each.value(labels.CAPACITY_TYPE),
                price=each.price if each.price > 0 else None,
                available=each.available,
            )
            for each in given.offerings
        ),
    )


def _part(name: str, number: int) -> str:
    parts = name.split("-")
    return parts[number] if number < len(parts) else ""
