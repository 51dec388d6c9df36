"""The steps of a machine's life on one hypervisor. Each blocks, and can be repeated.

A machine comes in this order: domain, disk, seed, start, mark. It goes in the other one, the domain last. So at every
moment in which anything of it exists there is a domain that says whose it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import libvirt

from providers.libvirt import domains
from providers.libvirt.connections import Connection
from providers.libvirt.errors import is_missing
from providers.libvirt.images import Upload
from providers.libvirt.records import BOOTED, NAMESPACE, Record, from_metadata

T = TypeVar("T")
State = Literal["pending", "running", "stopped"]

_REASONS: Final = {
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: "it was shut down from within",
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: "it was switched off",
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: "it crashed",
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: "it failed to start",
    libvirt.VIR_DOMAIN_SHUTOFF_DAEMON: "the hypervisor ended it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A machine that a hypervisor has.

    :param why: for one that has stopped, in words
    """

    record: Record
    state: State
    why: str
    addresses: tuple[str, ...]


def find(connection: Connection, domain_uuid: str, cluster: str) -> Found | None:
    """The machine with that domain; None if there is none, or it is another cluster's."""
    domain = _lookup(connection, domain_uuid)
    return None if domain is None else _found(domain, cluster)


def find_all(connection: Connection, cluster: str) -> list[Found]:
    """Every machine of the cluster."""
    return [found for domain in connection.listAllDomains() if (found := _found(domain, cluster)) is not None]


def define(connection: Connection, record: Record, xml: str) -> None:
    """The domain exists, and says what it is for."""
    if _lookup(connection, record.domain_uuid) is None:
        connection.defineXML(xml)


def add_disk(connection: Connection, record: Record, backing: tuple[str, str]) -> None:
    """The overlay exists; it takes milliseconds, whatever the size."""
    pool = connection.storagePoolLookupByName(record.pool)
    if _volume(pool, record.disk_volume) is None:
        try:
            pool.createXML(domains.volume(record.disk_volume, record.disk, "qcow2", backing=backing))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_STORAGE_VOL_EXIST:  # by a call whose caller has died
                raise


def add_seed(connection: Connection, record: Record, content: bytes, upload: Upload) -> None:
    """The seed is what it should be: one that was cut off is written anew."""
    pool = connection.storagePoolLookupByName(record.pool)
    if (old := _volume(pool, record.seed_volume)) is not None:
        old.delete()
    upload(connection, pool.createXML(domains.volume(record.seed_volume, len(content), "raw")), content)


def start(connection: Connection, record: Record) -> None:
    """The machine runs."""
    domain = connection.lookupByUUIDString(record.domain_uuid)
    if not domain.isActive():
        domain.create()


def mark_booted(connection: Connection, record: Record) -> None:
    """From now on a machine that does not run is one that has stopped."""
    domain = connection.lookupByUUIDString(record.domain_uuid)
    if not domains.is_booted(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)):
        kind, flags = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
        domain.setMetadata(kind, domains.booted(), "booted", BOOTED, flags)


def stop(connection: Connection, record: Record) -> None:
    """The machine does not run."""
    domain = _lookup(connection, record.domain_uuid)
    if domain is not None:
        _end(domain)


def remove_volumes(connection: Connection, record: Record) -> None:
    """Seed and disk are gone; with their pool they are gone, too."""
    pool = _unless_missing(lambda: connection.storagePoolLookupByName(record.pool))
    if pool is None:
        return
    for name in (record.seed_volume, record.disk_volume):
        volume = _volume(pool, name)
        if volume is not None:
            _unless_missing(volume.delete)


def undefine(connection: Connection, record: Record) -> None:
    """The domain is gone, with all that libvirt keeps for it."""
    domain = _lookup(connection, record.domain_uuid)
    if domain is None:
        return
    described = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    _end(domain)  # of one that runs only the definition would go
    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    if "<nvram" in described or "firmware=" in described:
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    if "<tpm" in described:
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_TPM
    _unless_missing(lambda: domain.undefineFlags(flags))


def _found(domain: libvirt.virDomain, cluster: str) -> Found | None:
    try:
        kind, flags = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CURRENT
        record = from_metadata(domain.metadata(kind, NAMESPACE, flags))
        if record is None or record.cluster != cluster:
            return None
        booted = domains.is_booted(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        active = bool(domain.isActive())
        _, reason = domain.state()
        addresses = (record.address,) if record.address else _leases(domain) if active else ()
    except libvirt.libvirtError as error:
        if is_missing(error):
            return None
        raise
    state: State = "running" if active else "stopped" if booted else "pending"
    why = _REASONS.get(reason, "it does not run") if state == "stopped" else ""
    return Found(record=record, state=state, why=why, addresses=addresses)


def _leases(domain: libvirt.virDomain) -> tuple[str, ...]:
    """What the network's DHCP server gave the machine; nothing yet, or no such server, gives nothing."""
    try:
        interfaces = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)
    except libvirt.libvirtError:
        return ()
    return tuple(each["addr"] for interface in interfaces.values() for each in interface["addrs"] or ())


def _end(domain: libvirt.virDomain) -> None:
    if not domain.isActive():
        return
    try:
        domain.destroy()
    except libvirt.libvirtError:
        if domain.isActive():  # it did not end by itself meanwhile, either
            raise


def _lookup(connection: Connection, domain_uuid: str) -> libvirt.virDomain | None:
    return _unless_missing(lambda: connection.lookupByUUIDString(domain_uuid))


def _volume(pool: libvirt.virStoragePool, name: str) -> libvirt.virStorageVol | None:
    return _unless_missing(lambda: pool.storageVolLookupByName(name))


def _unless_missing(work: Callable[[], T]) -> T | None:
    try:
        return work()
    except libvirt.libvirtError as error:
        if is_missing(error):
            return None
        raise
