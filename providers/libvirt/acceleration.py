"""KVM where it works, emulation (TCG) where it does not.

That a hypervisor offers KVM does not mean that a machine comes up with it: within a virtual machine it may end at once,
or hang in the kernel's decompression for ever. So a machine is booted once, for a few seconds: the image's own kernel,
which powers off as soon as its initrd runs. An image without a kernel of its own is booted as the hypervisor offers it.
"""

from __future__ import annotations

import time
import uuid
import xml.etree.ElementTree as ET
from typing import Final

import libvirt

from autonodes.provider import NodeClassNotReadyError
from providers.libvirt import domains
from providers.libvirt.connections import Connection
from providers.libvirt.domains import Boot
from providers.libvirt.errors import is_missing

PROBE_WITHIN: Final = 20.0
"""Seconds. With KVM the probe takes two."""
PROBE_ARGUMENT: Final = "autonodes.probe"
_POLL: Final = 0.1
_TYPES: Final = {"kvm": "kvm", "tcg": "qemu"}
_PREFIX: Final = "autonodes-probe-"


def domain_type(connection: Connection, uri: str, wanted: str, boot: Boot) -> str:
    """The type of domain that works: ``kvm``, ``qemu`` or what else the hypervisor has. Takes up to `PROBE_WITHIN`.

    :param uri: of the hypervisor, for a connection that hears of the probe only
    :param wanted: ``auto``, ``kvm`` or ``tcg``
    :raises NodeClassNotReadyError: the hypervisor has not what is wanted
    """
    offered = _offered(connection)
    if wanted != "auto":
        if _TYPES[wanted] not in offered:
            raise NodeClassNotReadyError(
                f"spec.acceleration: {wanted} is wanted, and the hypervisor has {', '.join(offered)}"
            )
        return _TYPES[wanted]
    if "kvm" in offered and (boot.kernel is None or "qemu" not in offered or _boots(uri, "kvm", boot)):
        return "kvm"
    return next(kind for kind in ("qemu", *offered) if kind in offered)


def _offered(connection: Connection) -> list[str]:
    capabilities = ET.fromstring(connection.getCapabilities())  # noqa: S314 -- libvirt wrote it
    kinds = [each.get("type", "") for each in capabilities.findall("guest/arch/domain")]
    return list(dict.fromkeys(kinds)) or [connection.getType().lower()]


def _boots(uri: str, kind: str, boot: Boot) -> bool:
    """The domain is transient and ends with its connection: nothing of it is left, whoever is killed when."""
    connection = libvirt.open(uri)
    try:
        return _boots_on(connection, kind, boot)
    finally:
        connection.close()


def _boots_on(connection: Connection, kind: str, boot: Boot) -> bool:
    quick = Boot(kernel=boot.kernel, initrd=boot.initrd, command_line=f"{boot.command_line} {PROBE_ARGUMENT} panic=-1")
    ended: list[tuple[int, int]] = []
    name = f"{_PREFIX}{uuid.uuid4().hex[:8]}"

    def listen(_connection: Connection, domain: libvirt.virDomain, event: int, detail: int, _data: object) -> None:
        if domain.name() == name and event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            ended.append((event, detail))

    callback = connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, listen, None)
    try:
        domain = connection.createXML(domains.probe(name, kind, quick), libvirt.VIR_DOMAIN_START_AUTODESTROY)
        deadline = time.monotonic() + PROBE_WITHIN
        while not ended and time.monotonic() < deadline:
            time.sleep(_POLL)
        _destroy(domain)
    except libvirt.libvirtError:
        return False  # it did not even start
    finally:
        connection.domainEventDeregisterAny(callback)
    return bool(ended) and ended[0][1] == libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN


def _destroy(domain: libvirt.virDomain) -> None:
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if not is_missing(error) and error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise
