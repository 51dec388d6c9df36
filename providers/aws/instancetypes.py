"""What a node of an EC2 instance type has: its labels, its capacity, and what of it the system keeps.

A type's labels are those of Karpenter's AWS provider (``karpenter.k8s.aws/instance-category`` and so on), so its
NodePools apply unchanged. What a machine has and what of it pods can use:

- memory: 7.5% less than its size, which is what Karpenter allows for the hypervisor and the firmware;
- pods: the addresses of the default network card's interfaces, as the VPC CNI gives them out:
  interfaces x (addresses - 1) + 2;
- disk: the root volume;
- the kubelet's reservations, as on the images for EKS: of the CPUs 6% of the first, 1% of the second, 0.5% of the
  third and fourth and 0.25% of the others; memory 255 MiB + 11 MiB a pod, and 100 MiB below which it evicts; disk
  1 GiB, and a tenth below which it evicts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from autonodes.core import labels
from autonodes.core.model import InstanceType, Offering, Resources
from autonodes.core.requirements import Requirements

LABEL_PREFIX: Final = "karpenter.k8s.aws/instance-"
EFA: Final = "vpc.amazonaws.com/efa"
"""Extended resource: Elastic Fabric Adapters."""
ROOT_VOLUME: Final = 20 * 2**30
"""Bytes, where a node class does not say otherwise."""

EVICTION_MEMORY: Final = 100 * 2**20
"""Bytes that the kubelet keeps free."""
_MIB: Final = 2**20
_GIB: Final = 2**30
_MEMORY_SEEN: Final = 1000 - 75
"""Thousandths of a machine's memory that its operating system finds."""
_NAME: Final = re.compile(r"(?P<category>[a-z]+)(-[0-9]+tb)?(?P<generation>[0-9]+)?.*")
"""Of a family: ``c7gn`` is of category c and generation 7, ``u-6tb1`` of category u and generation 1."""


class Gpu(msgspec.Struct, frozen=True, rename={"memory": "memoryMiB"}):
    """:param memory: of one GPU, in MiB"""

    name: str
    manufacturer: str
    count: int
    memory: int


class Neuron(msgspec.Struct, frozen=True):
    name: str
    count: int
    cores: int


class TypeRow(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
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
    gpu: Gpu | None = None
    neuron: Neuron | None = None


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """What a node class decides of its nodes' size.

    :param root_volume: bytes
    :param max_pods: None for as many as the network interfaces have addresses
    :param efa: whether the adapters are attached
    """

    root_volume: int = ROOT_VOLUME
    max_pods: int | None = None
    efa: bool = True


DEFAULT_SIZING: Final = Sizing()


def instance_type(
    name: str, row: TypeRow, region: str, offerings: tuple[Offering, ...], sizing: Sizing = DEFAULT_SIZING
) -> InstanceType:
    """:param offerings: of the type, sold out ones too"""
    return InstanceType(
        name=name,
        requirements=Requirements.from_labels({labels.REGION: region, **_labels(name, row)}),
        capacity=_capacity(row, sizing),
        overhead=overhead(row, sizing),
        offerings=offerings,
    )


def pods(row: TypeRow, sizing: Sizing) -> int:
    """The kubelet's ``maxPods``."""
    return sizing.max_pods or row.interfaces * (row.addresses - 1) + 2


def _labels(name: str, row: TypeRow) -> dict[str, str]:
    own = {LABEL_PREFIX + key: value for key, value in _own_labels(name, row) if value}
    return {labels.INSTANCE_TYPE: name, labels.ARCH: row.arch, labels.OS: "linux", **own}


def _own_labels(name: str, row: TypeRow) -> Iterator[tuple[str, str]]:
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


def _capacity(row: TypeRow, sizing: Sizing) -> Resources:
    capacity = {
        "cpu": 1000 * row.cpu,
        "memory": row.memory_mib * _MIB * _MEMORY_SEEN // 1000,
        "ephemeral-storage": sizing.root_volume,
        "pods": pods(row, sizing),
        EFA: row.efa if sizing.efa else 0,
    }
    if row.gpu:
        capacity[f"{_word(row.gpu.manufacturer)}.com/gpu"] = row.gpu.count
    if row.neuron:
        capacity["aws.amazon.com/neuron"] = row.neuron.count
        capacity["aws.amazon.com/neuroncore"] = row.neuron.cores
    return {name: amount for name, amount in capacity.items() if amount}


def overhead(row: TypeRow, sizing: Sizing) -> Resources:
    """What is not allocatable: `reserved`, and what the kubelet keeps free by evicting pods."""
    kept = reserved(row, sizing)
    return {
        "cpu": kept["cpu"],
        "memory": kept["memory"] + EVICTION_MEMORY,
        "ephemeral-storage": kept["ephemeral-storage"] + sizing.root_volume // 10,
    }


def reserved(row: TypeRow, sizing: Sizing) -> Resources:
    """The kubelet's ``kubeReserved``."""
    return {
        "cpu": _reserved_cpu(row.cpu),
        "memory": (255 + 11 * pods(row, sizing)) * _MIB,
        "ephemeral-storage": _GIB,
    }


def _reserved_cpu(cores: int) -> int:
    """Millicores, rounded up."""
    hundredths = sum(_RESERVED[:cores]) + 250 * max(0, cores - len(_RESERVED))
    return -(-hundredths // 100)


_RESERVED: Final = (6000, 1000, 500, 500)
"""Of the first cores, in hundredths of a millicore; 250 of each further one."""
