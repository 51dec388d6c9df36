"""DescribeInstanceTypes' answer as a `TypeRow`: only the facts that a node's labels and capacity are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from providers.aws.instancetypes import TypeRow

_ARCHITECTURES: Final = {"x86_64": "amd64", "arm64": "arm64"}


def type_row(described: Mapping[str, Any]) -> TypeRow:
    """:raises msgspec.ValidationError: a fact is missing"""
    return msgspec.convert(plain_row(described), TypeRow)


def architecture(described: Mapping[str, Any]) -> str:
    """Kubernetes' word for it; "" for what Linux does not run on (Macs)."""
    supported = described["ProcessorInfo"]["SupportedArchitectures"]
    return next((_ARCHITECTURES[name] for name in supported if name in _ARCHITECTURES), "")


def plain_row(described: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON; what a type doesn't have is left out."""
    network = described["NetworkInfo"]
    card = network["NetworkCards"][network["DefaultNetworkCardIndex"]]
    processor = described["ProcessorInfo"]
    row = {
        "arch": architecture(described),
        "cpu": described["VCpuInfo"]["DefaultVCpus"],
        "memoryMiB": int(described["MemoryInfo"]["SizeInMiB"]),
        "hypervisor": described.get("Hypervisor", ""),
        "cpuManufacturer": processor.get("Manufacturer", "").lower(),
        "interfaces": card["MaximumNetworkInterfaces"],
        "addresses": network["Ipv4AddressesPerInterface"],
        "networkMbps": round(1000 * sum(each.get("BaselineBandwidthInGbps", 0) for each in network["NetworkCards"])),
        "ebsMbps": described["EbsInfo"].get("EbsOptimizedInfo", {}).get("MaximumBandwidthInMbps", 0),
        "nvmeGB": described.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0) if _nvme(described) else 0,
        "encrypted": network["EncryptionInTransitSupported"],
        "efa": network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0),
        "gpu": _gpu(described),
        "neuron": _neuron(described),
    }
    return {key: value for key, value in row.items() if value}


def _nvme(described: Mapping[str, Any]) -> bool:
    return described.get("InstanceStorageInfo", {}).get("NvmeSupport") in ("required", "supported")


def _gpu(described: Mapping[str, Any]) -> dict[str, Any] | None:
    """A machine has GPUs of one kind. One that gives a fraction of a GPU shows that as one."""
    gpus = described.get("GpuInfo", {}).get("Gpus", [])
    if not gpus:
        return None
    (gpu,) = gpus
    return {
        "name": gpu["Name"],
        "manufacturer": gpu["Manufacturer"],
        "count": gpu.get("LogicalGpuCount") or gpu["Count"],
        "memoryMiB": gpu["MemoryInfo"]["SizeInMiB"],
    }


def _neuron(described: Mapping[str, Any]) -> dict[str, Any] | None:
    devices = described.get("NeuronInfo", {}).get("NeuronDevices", [])
    if not devices:
        return None
    (device,) = devices
    return {"name": device["Name"], "count": device["Count"], "cores": device["Count"] * device["CoreInfo"]["Count"]}
