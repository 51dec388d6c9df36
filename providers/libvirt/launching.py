"""From a record to a machine that boots: the image's copy, the domain, its disk, its seed, and the start."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import libvirt

from autonodes import nocloud
from autonodes.api.libvirtnodeclass import LibvirtNodeClassSpec
from autonodes.provider import Bootstrap, NodeClassNotReadyError, NodeSettings, ProviderError, ProviderID
from providers.libvirt import acceleration, catalogue, domains, machines, rooms
from providers.libvirt.domains import Boot, Hardware
from providers.libvirt.errors import refused
from providers.libvirt.fleet import Fleet
from providers.libvirt.images import Copies, Image, Upload
from providers.libvirt.records import Record

log = logging.getLogger(__name__)

_KUBELET: Final[Mapping[str, Any]] = {
    "cgroupDriver": "cgroupfs",
    "evictionHard": {
        "memory.available": str(catalogue.EVICTION),
        "nodefs.available": str(catalogue.DISK_EVICTION),
    },
    "volumePluginDir": "/var/lib/kubelet/volumeplugins",
}


class Launching:
    """:param upload: fills a volume"""

    def __init__(self, fleet: Fleet, upload: Upload) -> None:
        self._fleet, self._upload, self._copies = fleet, upload, Copies(upload)
        self._domain_types: dict[tuple[str, str, str], asyncio.Task[str]] = {}
        self._preparing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Give up what is under way; it is done anew when it is needed."""
        tasks = (*self._preparing, *self._domain_types.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._copies.close()

    def prepare_soon(self, spec: LibvirtNodeClassSpec, uri: str, image: Image) -> None:
        """So that the first machine need not wait for an upload."""
        task = asyncio.create_task(self._prepare(spec, uri, image))
        self._preparing.add(task)
        task.add_done_callback(self._preparing.discard)

    async def launch(
        self, record: Record, provider_id: ProviderID, spec: LibvirtNodeClassSpec, image: Image, bootstrap: Bootstrap
    ) -> None:
        """The machine runs. What was done before is not done again.

        :raises CreateError: the hypervisor refused; nothing is left
        :raises ProviderError: it does not answer; repeat
        """
        try:
            await self._launch(record, provider_id, spec, image, bootstrap)
        except libvirt.libvirtError as error:
            await self._fleet.remove(record)
            raise refused(error, record.uri) from error
        except NodeClassNotReadyError:
            await self._fleet.remove(record)
            raise

    async def _launch(
        self, record: Record, provider_id: ProviderID, spec: LibvirtNodeClassSpec, image: Image, bootstrap: Bootstrap
    ) -> None:
        hypervisor = self._fleet.hypervisor(record.uri)
        boot, kind = await self._prepared(spec, record.uri, image)
        backing = (await self._copies.ensure(hypervisor, record.pool, image.disk), image.disk_format)
        hardware = await self._hardware(record, spec, kind)
        xml = domains.machine(
            record, hardware, boot, disk=record.disk_volume, disk_format="qcow2", seed=record.seed_volume
        )
        self._fleet.records.write(dataclasses.replace(record, ordered=True))  # strictly before
        await hypervisor.call(lambda connection: machines.define(connection, record, xml))
        found = await self._fleet.find(record)
        if found is None or found.state != "running":
            content = nocloud.seed(bootstrap.boot_plan(_settings(record, provider_id)), instance_id=record.claim_uid)
            await hypervisor.call(lambda connection: machines.add_disk(connection, record, backing))
            await hypervisor.call(lambda connection: machines.add_seed(connection, record, content, self._upload))
            await hypervisor.call(lambda connection: machines.start(connection, record))
        await hypervisor.call(lambda connection: machines.mark_booted(connection, record))

    async def _hardware(self, record: Record, spec: LibvirtNodeClassSpec, kind: str) -> Hardware:
        return Hardware(
            domain_type=kind,
            vcpus=catalogue.vcpus(record.cpu),
            memory=catalogue.machine_memory(record.memory),
            network=spec.network,
            uefi=spec.firmware == "uefi",
            secure_boot=spec.secure_boot,
            vtpm=spec.vtpm,
            devices=await self._devices(record, spec),
        )

    async def _devices(self, record: Record, spec: LibvirtNodeClassSpec) -> Sequence[str]:
        shape = next((each for each in catalogue.shapes(spec) if each.name == record.instance_type), None)
        limits = next((each for each in spec.hypervisors if each.uri == record.uri), None)
        if shape is None or limits is None or not shape.devices:
            return ()
        left = await self._fleet.hypervisor(record.uri).call(
            lambda connection: rooms.room(connection, limits, undefined=())
        )
        return left.chosen(shape)

    async def _prepare(self, spec: LibvirtNodeClassSpec, uri: str, image: Image) -> None:
        try:
            await self._prepared(spec, uri, image)
        except (ProviderError, libvirt.libvirtError, OSError) as error:
            log.warning("%s is not prepared yet: %s", uri, error)

    async def _prepared(self, spec: LibvirtNodeClassSpec, uri: str, image: Image) -> tuple[Boot, str]:
        """The image is there, and it is known how it is booted."""
        hypervisor, wanted = self._fleet.hypervisor(uri), spec.acceleration
        boot = await self._copies.boot(hypervisor, spec.pool, image)
        key = (uri, image.name, wanted)
        task = self._domain_types.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            work = hypervisor.call(
                lambda connection: acceleration.domain_type(connection, uri, wanted, boot), within=None
            )
            task = self._domain_types[key] = asyncio.create_task(work)
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever waits sees it
        return boot, await asyncio.shield(task)


def _settings(record: Record, provider_id: ProviderID) -> NodeSettings:
    return NodeSettings(
        provider_id=provider_id,
        node_ip=record.address or None,
        system_reserved=catalogue.system_reserved(record.cpu),
        max_pods=record.pods,
        labels=catalogue.node_labels(record.instance_type, record.zone),
        kubelet=_KUBELET,
    )
