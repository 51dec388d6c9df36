"""Instance types from the inventory: hosts of one type are one type, its zones are where they stand.

An offering is available while a host of it is free for this tenant, and says how many are; a type whose hosts are all
taken stays in the list. Hosts that are alike but differ in price are offered at the dearest: no plan costs more than it
said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from autonodes.api.baremetal import MetalNodeClass, MetalNodeClassSpec
from autonodes.api.nodeclass import GPU
from autonodes.api.validation import explain
from autonodes.core import labels
from autonodes.core.gpus import gpu_labels
from autonodes.core.model import InstanceType, Offering
from autonodes.core.quantities import parse_resource
from autonodes.core.requirements import Requirement, Requirements
from autonodes.core.sharing import GPU as GPU_RESOURCE
from autonodes.provider import NodeClassNotReadyError
from providers.metal.hosts import Host
from providers.metal.states import State


def parsed(node_class: Mapping[str, Any]) -> MetalNodeClassSpec:
    """:raises NodeClassNotReadyError: it can't be read"""
    try:
        return MetalNodeClass.from_api({"spec": node_class.get("spec") or {}}).spec
    except ValidationError as error:
        raise NodeClassNotReadyError("; ".join(map(str, explain(error, MetalNodeClass)))) from error


def chosen(hosts: Iterable[Host], spec: MetalNodeClassSpec, tenant: str) -> list[Host]:
    """Hosts that this tenant may have by this node class, in use or not."""
    return [
        host
        for host in hosts
        if spec.host_selector.items() <= host.labels.items()
        and (not host.spec.reserved_for or tenant in host.spec.reserved_for)
    ]


def instance_types(hosts: Sequence[Host], taken: frozenset[str]) -> tuple[InstanceType, ...]:
    """:param hosts: as `chosen`
    :param taken: names of hosts that somebody has, or is about to get
    """
    by_type: dict[str, list[Host]] = defaultdict(list)
    for host in hosts:
        by_type[host.spec.instance_type].append(host)
    return tuple(_instance_type(name, by_type[name], taken) for name in sorted(by_type))


def is_free(host: Host, taken: frozenset[str]) -> bool:
    return host.state is State.AVAILABLE and host.name not in taken


def node_labels(host: Host) -> dict[str, str]:
    """What its Node shows; those of its GPUs as NVIDIA's GPU feature discovery sets them."""
    shown = {
        labels.INSTANCE_TYPE: host.spec.instance_type,
        labels.ZONE: host.spec.zone,
        labels.CAPACITY_TYPE: labels.CAPACITY_ON_DEMAND,
        labels.ARCH: host.spec.arch,
        labels.OS: "linux",
    }
    return shown | (_gpu_labels(host.spec.gpu) if host.spec.gpu else {})


def capacity(host: Host) -> dict[str, int]:
    size = {
        "cpu": parse_resource("cpu", host.spec.cpu, path="spec.cpu", capacity=True),
        "memory": parse_resource("memory", host.spec.memory, path="spec.memory", capacity=True),
        "pods": host.spec.pods,
    }
    return size | ({GPU_RESOURCE: host.spec.gpu.count} if host.spec.gpu else {})


def _gpu_labels(gpu: GPU) -> dict[str, str]:
    memory = parse_resource("memory", gpu.memory, path="spec.gpu.memory", capacity=True)
    return gpu_labels(gpu.product, gpu.count, memory)


def _instance_type(name: str, hosts: Sequence[Host], taken: frozenset[str]) -> InstanceType:
    """Sized as the smallest of them, so that what was planned fits on any."""
    shown = node_labels(hosts[0])
    fixed = {key: value for key, value in shown.items() if key not in (labels.ZONE, labels.CAPACITY_TYPE)}
    sizes = [capacity(host) for host in hosts]
    common = sizes[0].keys() & set.intersection(*(set(size) for size in sizes))
    by_zone: dict[str, list[Host]] = defaultdict(list)
    for host in hosts:
        by_zone[host.spec.zone].append(host)
    return InstanceType(
        name=name,
        requirements=Requirements(Requirement.of(key, "In", [value]) for key, value in fixed.items()),
        capacity={key: min(size[key] for size in sizes) for key in sorted(common)},
        overhead={},
        offerings=tuple(_offering(zone, by_zone[zone], taken) for zone in sorted(by_zone)),
    )


def _offering(zone: str, hosts: Sequence[Host], taken: frozenset[str]) -> Offering:
    free = sum(is_free(host, taken) for host in hosts)
    return Offering(
        zone=zone,
        capacity_type=labels.CAPACITY_ON_DEMAND,
        price=max(host.spec.price for host in hosts),
        available=free > 0,
        count=free,
    )
