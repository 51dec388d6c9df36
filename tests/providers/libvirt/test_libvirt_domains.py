"""The XML of domains, checked against libvirt's own schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from xml.etree import ElementTree

import libvirt
import pytest

from providers.libvirt import addresses, catalogue, domains
from providers.libvirt.domains import Boot, Hardware
from providers.libvirt.records import Record, from_metadata

RECORD = Record(
    claim_uid="0b5e4a5e-53b3-4d4e-a1de-5c1c6c0c8d11",
    claim_name="default-x7k2p",
    cluster="here",
    node_pool="default",
    uri="qemu:///system",
    instance_type="libvirt.small",
    zone="a",
    cpu=1000,
    memory=2**30,
    disk=20 * 2**30,
    pods=110,
    pool="default",
    address="100.72.3.47",
    image="sha256:0",
    node_class_hash="0",
    created_at=1.5,
    resources={"nvidia.com/gpu": 1},
)
KERNEL = Boot(kernel="/pool/kernel", initrd="/pool/initrd", command_line="console=ttyS0 quiet")
HARDWARE = Hardware(domain_type="qemu", vcpus=1, memory=2**31)


@pytest.fixture
def connection() -> Iterator[libvirt.virConnect]:
    opened = libvirt.open("test:///default")
    yield opened
    opened.close()


def xml(hardware: Hardware = HARDWARE, boot: Boot = KERNEL, record: Record = RECORD) -> str:
    return domains.machine(record, hardware, boot, disk=record.disk_volume, disk_format="qcow2", seed="seed.iso")


@pytest.mark.parametrize(
    ("hardware", "boot"),
    [
        (HARDWARE, KERNEL),
        (dataclasses.replace(HARDWARE, domain_type="kvm", network="lan"), Boot()),
        (dataclasses.replace(HARDWARE, uefi=True, secure_boot=True, vtpm=True), Boot()),
        (dataclasses.replace(HARDWARE, devices=("0000:65:00.0", "0000:65:00.1")), KERNEL),
    ],
)
def test_every_kind_of_machine_follows_libvirt_s_schema(
    connection: libvirt.virConnect, hardware: Hardware, boot: Boot
) -> None:
    domain = connection.defineXMLFlags(xml(hardware, boot), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    assert domain.UUIDString() == RECORD.claim_uid


def test_the_schema_is_really_checked(connection: libvirt.virConnect) -> None:
    with pytest.raises(libvirt.libvirtError) as raised:
        connection.defineXMLFlags(xml().replace("<vcpu>", "<nonsense/><vcpu>"), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    assert raised.value.get_error_code() == libvirt.VIR_ERR_XML_INVALID_SCHEMA


def test_whatever_a_name_holds_stays_text() -> None:
    nasty = "<&\"']]>--%s{}\n"
    root = ElementTree.fromstring(xml(record=dataclasses.replace(RECORD, claim_name=nasty, pool=nasty)))  # noqa: S314
    assert root.findtext("name") == f"{nasty}-{RECORD.claim_uid[:8]}"
    assert {each.get("pool") for each in root.iterfind("devices/disk/source")} == {nasty}


def test_a_record_comes_back_from_the_metadata_as_it_was(connection: libvirt.virConnect) -> None:
    domain = connection.defineXML(xml(dataclasses.replace(HARDWARE, domain_type="test")))
    try:
        assert from_metadata(domains.metadata(domain.XMLDesc()) or "") == RECORD
    finally:
        domain.undefine()


def test_metadata_of_another_kind_is_nobody_s() -> None:
    assert from_metadata("<machine/>") is None
    assert from_metadata("nonsense") is None
    assert domains.metadata("<domain><metadata/></domain>") is None


def test_each_machine_in_user_mode_has_an_address_of_its_own() -> None:
    taken: set[str] = set()
    for number in range(2000):
        address = addresses.address_of(f"uid-{number}", taken, avoided="100.72.0.17")
        assert address not in taken
        taken.add(address)
    assert "100.72.0.15" not in taken
    root = ElementTree.fromstring(xml())  # noqa: S314
    ip = root.find("devices/interface/ip")
    assert ip is not None
    assert (ip.get("address"), ip.get("prefix")) == ("100.72.3.32", "27")


def test_a_node_shows_at_least_what_was_promised() -> None:
    for gibibytes in (0.5, 1, 4, 64):
        promised = int(gibibytes * 2**30)
        machine = catalogue.machine_memory(promised)
        seen = machine - machine // 64 - 50 * 2**20  # a page's descriptor is 64 bytes; and the kernel's image
        reserved = int(catalogue.system_reserved(1000)["memory"]) + catalogue.EVICTION
        assert promised <= seen - reserved < promised * 1.05 + 200 * 2**20
