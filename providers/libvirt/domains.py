"""The XML of domains, built as data: whatever a name or a path holds, it stays text.

A machine has its disk (an overlay of the base image), its seed, one network interface and nothing that a node has no
use for. ``cache='unsafe'``: a node's disk holds nothing that outlives the node, so no write has to wait for the host's
disk.
"""

from __future__ import annotations

import hashlib
import ipaddress
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from providers.libvirt.records import BOOTED, NAMESPACE, Record

Element = ET.Element
USER_PREFIX: Final = 27
"""Length of the prefix of a machine's own network in user mode: 32 addresses, of which QEMU gives it the 15th."""
_TCG_CACHE: Final = 256
"""MiB for translated code; QEMU takes 1 GiB if it may."""
_TCG_CPU: Final = "Nehalem"
"""Has what the components are compiled for, and is faster to emulate than the richest model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """Paths on the hypervisor.

    :param kernel: booted directly; without, the firmware boots the disk
    """

    kernel: str | None = None
    initrd: str | None = None
    command_line: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """:param domain_type: ``kvm``, ``qemu``, or what else the hypervisor has
    :param vcpus: cores
    :param memory: bytes
    :param network: the libvirt network; None for user mode
    :param devices: PCI addresses on the hypervisor
    """

    domain_type: str
    vcpus: int
    memory: int
    network: str | None = None
    uefi: bool = False
    secure_boot: bool = False
    vtpm: bool = False
    devices: Sequence[str] = ()


def machine(record: Record, hardware: Hardware, boot: Boot, *, disk: str, disk_format: str, seed: str) -> str:
    """The domain of a machine; ``disk`` and ``seed`` are names of volumes in the record's pool."""
    root = _domain(record.domain_name, record.domain_uuid, hardware)
    ET.SubElement(root, "title").text = f"{record.cluster}/{record.claim_name}"
    ET.SubElement(root, "metadata").append(record.to_element())
    _os(root, hardware, boot)
    _features(root, hardware)
    devices = ET.SubElement(root, "devices")
    _volume(devices, record.pool, disk, disk_format, target="vda")
    _volume(devices, record.pool, seed, "raw", target="vdb", readonly=True)
    _interface(devices, record, hardware)
    ET.SubElement(ET.SubElement(devices, "rng", model="virtio"), "backend", model="random").text = "/dev/urandom"
    for address in hardware.devices:
        _pci(devices, address)
    if hardware.vtpm:
        tpm = ET.SubElement(devices, "tpm", model="tpm-crb")
        ET.SubElement(tpm, "backend", type="emulator", version="2.0")
    _console(devices)
    return _text(root)


def probe(name: str, domain_type: str, boot: Boot) -> str:
    """A domain that boots a kernel and ends: what can do that can run machines."""
    hardware = Hardware(domain_type=domain_type, vcpus=1, memory=256 * 2**20)
    root = _domain(name, None, hardware)
    _os(root, hardware, boot)
    _features(root, hardware)
    _console(ET.SubElement(root, "devices"))
    return _text(root)


def volume(name: str, capacity: int, format: str, *, backing: tuple[str, str] | None = None) -> str:
    """A volume for its owner's eyes only.

    :param capacity: bytes
    :param backing: path and format of the volume that it is an overlay of
    """
    root = Element("volume")
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "capacity", unit="bytes").text = str(capacity)
    if backing is not None or format == "qcow2":
        ET.SubElement(root, "allocation", unit="bytes").text = "0"
    target = ET.SubElement(root, "target")
    ET.SubElement(target, "format", type=format)
    ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = "0600"
    if backing is not None:
        path, kind = backing
        store = ET.SubElement(root, "backingStore")
        ET.SubElement(store, "path").text = path
        ET.SubElement(store, "format", type=kind)
    return _text(root)


def booted() -> str:
    """Metadata that says so, for `libvirt.virDomain.setMetadata`."""
    return "<booted/>"


def is_booted(xml: str) -> bool:
    return _root(xml).find(f"metadata/{{{BOOTED}}}booted") is not None


def metadata(xml: str) -> str | None:
    """Ours, of a domain's XML; None if it isn't ours."""
    found = _root(xml).find(f"metadata/{{{NAMESPACE}}}machine")
    return None if found is None else ET.tostring(found, encoding="unicode")


def pci_addresses(xml: str) -> frozenset[str]:
    """Of the devices that a domain holds, as `pci_address` writes them."""
    return frozenset(
        pci_address(*(int(address.get(part, "0"), 16) for part in ("domain", "bus", "slot", "function")))
        for address in _root(xml).findall("devices/hostdev[@type='pci']/source/address")
    )


def pci_address(domain: int, bus: int, slot: int, function: int) -> str:
    """``0000:65:00.0``."""
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def mac(record: Record) -> str:
    """Always the same for a claim; QEMU's prefix for machines without one of their own."""
    digest = hashlib.sha256(record.claim_uid.encode()).digest()
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def _domain(name: str, uuid: str | None, hardware: Hardware) -> Element:
    root = Element("domain", type=hardware.domain_type)
    ET.SubElement(root, "name").text = name
    if uuid is not None:
        ET.SubElement(root, "uuid").text = uuid
    ET.SubElement(root, "memory", unit="KiB").text = str(hardware.memory // 1024)
    ET.SubElement(root, "vcpu").text = str(hardware.vcpus)
    return root


def _os(root: Element, hardware: Hardware, boot: Boot) -> None:
    system = ET.SubElement(root, "os")
    machine_type = ET.SubElement(system, "type")
    machine_type.text = "hvm"
    if hardware.domain_type in ("kvm", "qemu"):
        machine_type.set("machine", "q35" if hardware.uefi else "pc")
    if hardware.uefi:
        system.set("firmware", "efi")
        firmware = ET.SubElement(system, "firmware")
        enabled = "yes" if hardware.secure_boot else "no"
        ET.SubElement(firmware, "feature", enabled=enabled, name="enrolled-keys")
        ET.SubElement(firmware, "feature", enabled=enabled, name="secure-boot")
    if boot.kernel is not None:
        ET.SubElement(system, "kernel").text = boot.kernel
        if boot.initrd is not None:
            ET.SubElement(system, "initrd").text = boot.initrd
        ET.SubElement(system, "cmdline").text = boot.command_line
    else:
        ET.SubElement(system, "boot", dev="hd")


def _features(root: Element, hardware: Hardware) -> None:
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if hardware.secure_boot:
        ET.SubElement(features, "smm", state="on")
    if hardware.domain_type == "qemu":
        ET.SubElement(ET.SubElement(features, "tcg"), "tb-cache", unit="MiB").text = str(_TCG_CACHE)
        cpu = ET.SubElement(root, "cpu", mode="custom", match="exact")
        ET.SubElement(cpu, "model", fallback="allow").text = _TCG_CPU
    elif hardware.domain_type == "kvm":
        ET.SubElement(root, "cpu", mode="host-passthrough")
    ET.SubElement(root, "clock", offset="utc")
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        ET.SubElement(root, event).text = action


def _volume(devices: Element, pool: str, name: str, kind: str, *, target: str, readonly: bool = False) -> None:
    disk = ET.SubElement(devices, "disk", type="volume", device="disk")
    ET.SubElement(disk, "driver", name="qemu", type=kind, cache="unsafe")
    ET.SubElement(disk, "source", pool=pool, volume=name)
    ET.SubElement(disk, "target", dev=target, bus="virtio")
    if readonly:
        ET.SubElement(disk, "readonly")


def _interface(devices: Element, record: Record, hardware: Hardware) -> None:
    interface = ET.SubElement(devices, "interface", type="user" if hardware.network is None else "network")
    ET.SubElement(interface, "mac", address=mac(record))
    if hardware.network is not None:
        ET.SubElement(interface, "source", network=hardware.network)
    else:
        network = ipaddress.IPv4Interface(f"{record.address}/{USER_PREFIX}").network
        ET.SubElement(
            interface, "ip", family="ipv4", address=str(network.network_address), prefix=str(network.prefixlen)
        )
    ET.SubElement(interface, "model", type="virtio")
    ET.SubElement(interface, "rom", enabled="no")


def _pci(devices: Element, address: str) -> None:
    domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    device = ET.SubElement(devices, "hostdev", mode="subsystem", type="pci", managed="yes")
    source = ET.SubElement(device, "source")
    parts = {"domain": domain, "bus": bus, "slot": slot, "function": function}
    ET.SubElement(source, "address", {name: f"0x{value}" for name, value in parts.items()})


def _console(devices: Element) -> None:
    ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(devices, "memballoon", model="none")


def _root(xml: str) -> Element:
    return ET.fromstring(xml)  # noqa: S314 -- libvirt has parsed and written it


def _text(root: Element) -> str:
    return ET.tostring(root, encoding="unicode")
