"""What a hypervisor has left, by its own account: memory, cores and PCI devices that no domain has, whoever's it is.

Machines that are written down and not yet defined count too, so that two launches at once don't both take the last
room. Memory is never promised twice; cores are shared, by default four machines' to each core.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import libvirt

from autonodes.api.libvirtnodeclass import LibvirtHypervisor
from autonodes.core.quantities import parse_resource
from autonodes.provider import NodeClassNotReadyError
from providers.libvirt import domains
from providers.libvirt.catalogue import Shape
from providers.libvirt.connections import Connection
from providers.libvirt.errors import is_missing

CPU_OVERCOMMIT: Final = 4
MEMORY_SHARE: Final = 0.9
"""Of the hypervisor's memory; the rest is its own."""

Device = tuple[str, str]
"""Vendor and product, as in `autonodes.api.libvirtnodeclass.PciDevice`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """:param memory: bytes
    :param cpus: virtual cores
    :param devices: vendor and product → PCI addresses
    """

    memory: int
    cpus: int
    devices: Mapping[Device, tuple[str, ...]]

    def fits(self, shape: Shape) -> bool:
        return (
            shape.machine_memory <= self.memory
            and shape.vcpus <= self.cpus
            and len(self.chosen(shape)) == sum(device.count for device in shape.devices)
        )

    def chosen(self, shape: Shape) -> tuple[str, ...]:
        """The devices that a machine of that shape would get; fewer than it needs if there aren't enough."""
        free = {kind: list(addresses) for kind, addresses in self.devices.items()}
        taken: list[str] = []
        for device in shape.devices:
            addresses = free.get((device.vendor, device.product), [])
            taken += addresses[: device.count]
            del addresses[: device.count]
        return tuple(taken)


def check(connection: Connection, pool: str, network: str | None) -> None:
    """Whether the hypervisor has what the node class names.

    :raises NodeClassNotReadyError: what is missing
    """
    try:
        is_active = connection.storagePoolLookupByName(pool).isActive()
    except libvirt.libvirtError as error:
        if is_missing(error):
            remedy = f"`virsh pool-define-as {pool} dir --target DIRECTORY`"
            raise NodeClassNotReadyError(f"spec.pool: there is no storage pool {pool!r}: {remedy}") from error
        raise
    if not is_active:
        raise NodeClassNotReadyError(f"spec.pool: storage pool {pool!r} is not active: `virsh pool-start {pool}`")
    if network is not None:
        _check_network(connection, network)


def room(connection: Connection, limits: LibvirtHypervisor, *, undefined: Iterable[tuple[str, int, int]]) -> Room:
    """What is left.

    :param undefined: domain UUID, virtual cores and bytes of machines that are written down; those that are defined
        already count once
    """
    _, memory, cores, *_ = connection.getInfo()
    most_memory = _limit("memory", limits.memory, int(memory * 2**20 * MEMORY_SHARE))
    most_cpus = _limit("cpu", limits.cpu, 1000 * cores * CPU_OVERCOMMIT) // 1000
    defined: set[str] = set()
    held: set[str] = set()
    for domain in connection.listAllDomains():
        try:
            xml = domain.XMLDesc()
            _, allotted, _, vcpus, _ = domain.info()
        except libvirt.libvirtError as error:
            if is_missing(error):  # it went while we looked
                continue
            raise
        defined.add(domain.UUIDString())
        most_memory -= allotted * 1024
        most_cpus -= vcpus
        held |= domains.pci_addresses(xml)
    for uuid, vcpus, allotted_bytes in undefined:
        if uuid not in defined:
            most_memory -= allotted_bytes
            most_cpus -= vcpus
    return Room(memory=most_memory, cpus=most_cpus, devices=_devices(connection, held))


def _check_network(connection: Connection, name: str) -> None:
    try:
        is_active = connection.networkLookupByName(name).isActive()
    except libvirt.libvirtError as error:
        if is_missing(error):
            known = ", ".join(sorted(each.name() for each in connection.listAllNetworks())) or "none"
            raise NodeClassNotReadyError(f"spec.network: there is no network {name!r}; there are: {known}") from error
        raise
    if not is_active:
        raise NodeClassNotReadyError(f"spec.network: network {name!r} is not active: `virsh net-start {name}`")


def _limit(resource: str, given: str | None, otherwise: int) -> int:
    if given is None:
        return otherwise
    return parse_resource(resource, given, path=f"spec.hypervisors[].{resource}", capacity=True)


def _devices(connection: Connection, held: Collection[str]) -> dict[Device, tuple[str, ...]]:
    found: dict[Device, list[str]] = {}
    for device in connection.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV):
        capability = ET.fromstring(device.XMLDesc()).find("capability[@type='pci']")  # noqa: S314 -- libvirt wrote it
        if capability is None:
            continue
        parts = [int(capability.findtext(part) or "0", 0) for part in ("domain", "bus", "slot", "function")]
        address = domains.pci_address(parts[0], parts[1], parts[2], parts[3])
        vendor, product = capability.find("vendor"), capability.find("product")
        if address not in held and vendor is not None and product is not None:
            found.setdefault((vendor.get("id", ""), product.get("id", "")), []).append(address)
    return {kind: tuple(sorted(addresses)) for kind, addresses in found.items()}
