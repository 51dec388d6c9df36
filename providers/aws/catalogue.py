"""EC2's instance types with their prices, as they stood on one day: for planning without credentials.

The table in ``data/ec2.json.gz`` is made by ``hack/catalogue`` and says what it was made from and when. It has the
on-demand prices of Linux on shared hosts. A type whose price the sources don't have is in the table too, and is never
bought. There are no spot prices in it, so nothing is offered as spot.

A type's labels are those of Karpenter's AWS provider (``karpenter.k8s.aws/instance-category`` and so on), so its
NodePools apply unchanged. What a machine has and what of it pods can use:

- memory: 7.5% less than its size, which is what Karpenter allows for the hypervisor and the firmware;
- pods: the addresses of the default network card's interfaces, as the VPC CNI gives them out:
  interfaces x (addresses - 1) + 2;
- disk: a root volume of 20 GiB;
- the kubelet's reservations, as on the images for EKS: of the CPUs 6% of the first, 1% of the second, 0.5% of the
  third and fourth and 0.25% of the others; memory 255 MiB + 11 MiB a pod, and 100 MiB below which it evicts; disk
  1 GiB, and a tenth below which it evicts.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

import msgspec

from autonodes.core import labels
from autonodes.core.errors import ConfigError
from autonodes.core.model import InstanceType, Offering, Resources
from autonodes.core.requirements import Requirements

DEFAULT_REGION: Final = "us-east-1"
LABEL_PREFIX: Final = "karpenter.k8s.aws/instance-"

_FORMAT: Final = 1
_MIB: Final = 2**20
_GIB: Final = 2**30
_ROOT_VOLUME: Final = 20 * _GIB
_MEMORY_SEEN: Final = 1000 - 75
"""Thousandths of a machine's memory that its operating system finds."""
_NAME: Final = re.compile(r"(?P<category>[a-z]+)(-[0-9]+tb)?(?P<generation>[0-9]+)?.*")
"""Of a family: ``c7gn`` is of category c and generation 7, ``u-6tb1`` of category u and generation 1."""


class _Gpu(msgspec.Struct, frozen=True, rename={"memory": "memoryMiB"}):
    """:param memory: of one GPU, in MiB"""

    name: str
    manufacturer: str
    count: int
    memory: int


class _Neuron(msgspec.Struct, frozen=True):
    name: str
    count: int
    cores: int


class _Type(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A type's row; the names of what is measured end in the unit."""

    arch: str
    cpu: int
    memory_mib: int = msgspec.field(name="memoryMiB")
    interfaces: int
    addresses: int
    hypervisor: str = ""
    cpu_manufacturer: str = ""
    network_mbps: int = 0
    ebs_mbps: int = 0
    nvme_gb: int = msgspec.field(name="nvmeGB", default=0)
    encrypted: bool = False
    efa: int = 0
    gpu: _Gpu | None = None
    neuron: _Neuron | None = None


class _Region(msgspec.Struct, frozen=True):
    """:param offered: type → the letters of its zones
    :param prices: type → dollars an hour; not every type has one
    """

    offered: dict[str, str]
    prices: dict[str, float]


class _Source(msgspec.Struct, frozen=True):
    package: str
    date: str = ""


class _Table(msgspec.Struct, frozen=True):
    format: int
    sources: dict[str, _Source]
    types: dict[str, _Type]
    regions: dict[str, _Region]


@dataclass(frozen=True, slots=True)
class Origin:
    """:param date: of the prices, ``2025-03-02``
    :param packages: that the table was made from
    """

    date: str
    packages: tuple[str, ...]


def catalogue(region: str = DEFAULT_REGION) -> tuple[InstanceType, ...]:
    """All types that a region has, by name; the same tuple for the same region.

    :raises ConfigError: the table does not know the region
    """
    return _catalogue(region)


def regions() -> tuple[str, ...]:
    return tuple(sorted(_table().regions))


def origin() -> Origin:
    sources = _table().sources
    return Origin(sources["prices"].date, tuple(sorted(source.package for source in sources.values())))


@lru_cache(maxsize=1)
def _table() -> _Table:
    packed = files("providers.aws").joinpath("data", "ec2.json.gz").read_bytes()
    table = msgspec.json.decode(gzip.decompress(packed), type=_Table)
    assert table.format == _FORMAT, "the table and its reader are of one release"  # noqa: S101
    return table


@lru_cache(maxsize=4)
def _catalogue(region: str) -> tuple[InstanceType, ...]:
    table = _table()
    found = table.regions.get(region)
    if found is None:
        raise ConfigError("region", region, f"not in the built-in catalogue; it has {', '.join(regions())}")
    return tuple(
        _instance_type(name, table.types[name], region, zones, found.prices.get(name))
        for name, zones in sorted(found.offered.items())
    )


def _instance_type(name: str, row: _Type, region: str, zones: str, price: float | None) -> InstanceType:
    found = {labels.REGION: region, **_labels(name, row)}
    return InstanceType(
        name=name,
        requirements=Requirements.from_labels(found),
        capacity=_capacity(row),
        overhead=_overhead(row),
        offerings=tuple(
            Offering(zone=f"{region}{letter}", capacity_type=labels.CAPACITY_ON_DEMAND, price=price) for letter in zones
        ),
    )


def _labels(name: str, row: _Type) -> dict[str, str]:
    own = {LABEL_PREFIX + key: value for key, value in _own_labels(name, row) if value}
    return {labels.INSTANCE_TYPE: name, labels.ARCH: row.arch, labels.OS: "linux", **own}


def _own_labels(name: str, row: _Type) -> Iterator[tuple[str, str]]:
    family, _, size = name.partition(".")
    matched = _NAME.fullmatch(family)
    yield "family", family
    yield "size", size
    if matched:
        yield "category", matched["category"]
        yield "generation", matched["generation"] or ""
    yield "cpu", str(row.cpu)
    yield "cpu-manufacturer", row.cpu_manufacturer
    yield "memory", str(row.memory_mib)
    yield "hypervisor", row.hypervisor
    yield "encryption-in-transit-supported", str(row.encrypted).lower()
    yield "network-bandwidth", _number(row.network_mbps)
    yield "ebs-bandwidth", _number(row.ebs_mbps)
    yield "local-nvme", _number(row.nvme_gb)
    if row.gpu:
        yield "gpu-name", _word(row.gpu.name)
        yield "gpu-manufacturer", _word(row.gpu.manufacturer)
        yield "gpu-count", str(row.gpu.count)
        yield "gpu-memory", str(row.gpu.memory)
    if row.neuron:
        yield "accelerator-name", _word(row.neuron.name)
        yield "accelerator-manufacturer", "aws"
        yield "accelerator-count", str(row.neuron.count)


def _number(amount: int) -> str:
    """Labels of what a type doesn't have are missing."""
    return str(amount) if amount else ""


def _word(name: str) -> str:
    """As Karpenter writes it: ``RTX PRO 4500`` is ``rtx-pro-4500``."""
    return name.lower().replace(" ", "-")


def _capacity(row: _Type) -> Resources:
    capacity = {
        "cpu": 1000 * row.cpu,
        "memory": row.memory_mib * _MIB * _MEMORY_SEEN // 1000,
        "ephemeral-storage": _ROOT_VOLUME,
        "pods": row.interfaces * (row.addresses - 1) + 2,
        "vpc.amazonaws.com/efa": row.efa,
    }
    if row.gpu:
        capacity[f"{_word(row.gpu.manufacturer)}.com/gpu"] = row.gpu.count
    if row.neuron:
        capacity["aws.amazon.com/neuron"] = row.neuron.count
        capacity["aws.amazon.com/neuroncore"] = row.neuron.cores
    return {name: amount for name, amount in capacity.items() if amount}


def _overhead(row: _Type) -> Resources:
    pods = _capacity(row)["pods"]
    return {
        "cpu": _reserved_cpu(row.cpu),
        "memory": (255 + 11 * pods + 100) * _MIB,
        "ephemeral-storage": _GIB + _ROOT_VOLUME // 10,
    }


def _reserved_cpu(cores: int) -> int:
    """Millicores, rounded up."""
    hundredths = sum(_RESERVED[core] if core < len(_RESERVED) else 250 for core in range(cores))
    return -(-hundredths // 100)


_RESERVED: Final = (6000, 1000, 500, 500)
"""Of the first cores, in hundredths of a millicore."""
