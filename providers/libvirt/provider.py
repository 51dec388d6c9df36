"""The libvirt provider: one machine is one domain on one of several hypervisors.

What exists is read from the hypervisors each time; a file for each machine says where it may be when its hypervisor
does not answer (`fleet`, `records`). So a restarted controller goes on where the last one was killed:

- `create` chooses a hypervisor with room and writes that down, then goes through the steps of `launching`. Repeated, it
  goes on with what is missing, on the same hypervisor.
- `delete` writes down that the machine goes, then removes everything of it, the file last.

A hypervisor that does not answer is left out: nothing is bought on it, its machines stay in the list as they were
written down, and a call about one of them fails and can be repeated. The others go on.

A machine that stopped by itself is told as an interruption, so that its node is drained and replaced at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from autonodes.api.libvirtnodeclass import LibvirtNodeClassSpec
from autonodes.core import labels
from autonodes.core.errors import EnvironmentFault
from autonodes.core.model import InstanceType, Offering
from autonodes.provider import (
    Interruption,
    LaunchRequest,
    Machine,
    MachineNotFoundError,
    NodeClassNotReadyError,
    ProviderContext,
    ProviderError,
    ProviderID,
    RepairPolicy,
)
from providers.libvirt import addresses, catalogue, images, placing, uplinks
from providers.libvirt.catalogue import Shape
from providers.libvirt.errors import HypervisorGoneError
from providers.libvirt.fleet import Fleet, Listed
from providers.libvirt.images import Image
from providers.libvirt.launching import Launching
from providers.libvirt.records import Record, is_uid

log = logging.getLogger(__name__)

_TOLERATION: Final = 600.0
"""Seconds; as Karpenter's providers have it for the Ready condition."""
State = Literal["pending", "running", "stopped", "terminating"]
_MACHINE_ID: Final = Path("/etc/machine-id")


class LibvirtProvider:
    """:param now: seconds since the epoch, for ``created_at``
    :param upload: fills a volume; drivers that have no streams need another way
    """

    name = "libvirt"
    node_class_kind = "LibvirtNodeClass"

    def __init__(
        self,
        context: ProviderContext,
        *,
        now: Callable[[], float] = time.time,
        upload: images.Upload = images.send,
    ) -> None:
        self._context, self._now = context, now
        self._directory = context.state_dir.absolute() / self.name
        # two clusters of one name can share a hypervisor, from two hosts or two state directories
        cluster = f"{context.cluster}-{_key(context.state_dir)}"
        self._fleet = Fleet(self._directory, cluster=cluster, kube=context.kube, kind=self.node_class_kind)
        self._launching, self._checksums = Launching(self._fleet, upload), images.Checksums()
        self._placing = asyncio.Lock()

    async def start(self) -> None:
        """Hypervisors are reached when they are needed: one that is gone keeps nothing from starting."""

    async def close(self) -> None:
        await self._launching.close()
        await self._fleet.close()

    async def purge(self) -> None:
        """Remove everything that this provider has made for the cluster. Safe to repeat.

        :raises ProviderError: a hypervisor with machines of this cluster does not answer; repeat
        """
        for listed in await self._fleet.list():
            await self._fleet.remove(listed.record)
        for uri, pool in sorted(
            {(each.uri, spec.pool) for spec in await self._fleet.specs() for each in spec.hypervisors}
        ):
            with contextlib.suppress(HypervisorGoneError):  # what is left there serves the next cluster
                await self._fleet.hypervisor(uri).call(
                    lambda connection, pool=pool: images.remove_unused(connection, pool)  # type: ignore[misc]
                )
        await self.close()
        if self._context.uplink:
            await uplinks.release(self._context.uplink)
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    async def validate(self, node_class: Mapping[str, Any]) -> None:
        spec = catalogue.parsed(node_class)
        catalogue.shapes(spec)
        image = await self._image(spec)
        if self._context.uplink and any(uplinks.is_this_host(each.uri) for each in spec.hypervisors):
            await _reachable(self._context.uplink)
        faults = {}
        for uri, outcome in (await placing.looks(self._fleet, spec)).items():
            if isinstance(outcome, ProviderError):
                faults[uri] = str(outcome)
                log.warning("%s is left out: %s", uri, outcome)
            else:
                self._launching.prepare_soon(spec, uri, image)
        if len(faults) == len(spec.hypervisors):
            raise NodeClassNotReadyError("; ".join(f"{uri}: {fault}" for uri, fault in faults.items()))

    async def instance_types(self, node_class: Mapping[str, Any]) -> Sequence[InstanceType]:
        return await placing.available_types(self._fleet, catalogue.parsed(node_class))

    async def create(self, request: LaunchRequest) -> Machine:
        spec = catalogue.parsed(request.node_class)
        image = await self._image(spec)
        async with self._fleet.only_one(request.claim_uid):
            record = await self._fleet.known(request.claim_uid) or await self._place(request, spec, image)
            if record.terminating:
                raise ProviderError(f"the machine of {request.claim_name} is being removed")
            provider_id = self._provider_id(record.claim_uid)
            await self._launching.launch(record, provider_id, spec, image, request.bootstrap)
            return await self._machine_of(record)

    async def delete(self, provider_id: ProviderID) -> None:
        claim_uid = self._claim_uid(provider_id)
        async with self._fleet.only_one(claim_uid):
            record = await self._fleet.known(claim_uid)
            if record is None:
                raise MachineNotFoundError(provider_id)
            await self._fleet.remove(record)

    async def get(self, provider_id: ProviderID) -> Machine:
        record = await self._fleet.known(self._claim_uid(provider_id))
        if record is None:
            raise MachineNotFoundError(provider_id)
        return await self._machine_of(record)

    async def list(self) -> Sequence[Machine]:
        """Those of hypervisors that answer as they are, the others as they were written down."""
        return [self._machine(each) for each in await self._fleet.list()]

    async def is_drifted(self, machine: Machine, node_class: Mapping[str, Any]) -> str | None:
        record = self._fleet.records.get(machine.claim_uid)
        if record is None:
            return None
        spec = catalogue.parsed(node_class)
        shape = next((each for each in catalogue.shapes(spec) if each.name == record.instance_type), None)
        if shape is None:
            return "InstanceTypeNotFound"
        if not _is_like(record, shape):
            return "InstanceTypeChanged"
        if not any((each.uri, each.zone) == (record.uri, record.zone) for each in spec.hypervisors):
            return "HypervisorNotFound"
        if record.image != (await self._image(spec)).name:
            return "ImageDrift"
        return None if record.node_class_hash == catalogue.static_hash(spec) else "NodeClassDrift"

    def repair_policies(self) -> Sequence[RepairPolicy]:
        return [
            RepairPolicy(condition_type="Ready", condition_status=status, toleration=_TOLERATION)
            for status in ("False", "Unknown")
        ]

    async def interruptions(self) -> Sequence[Interruption]:
        """Machines that ran and don't any more. What happens on a hypervisor that does not answer isn't known."""
        return [
            Interruption(
                provider_id=self._provider_id(each.record.claim_uid),
                kind="host-failure",
                message=f"the machine on {each.record.uri} has stopped: {each.why}",
            )
            for each in await self._fleet.stopped()
        ]

    async def _image(self, spec: LibvirtNodeClassSpec) -> Image:
        return await images.image(spec.image, self._context.machine_image, self._checksums)

    async def _place(self, request: LaunchRequest, spec: LibvirtNodeClassSpec, image: Image) -> Record:
        """Where the machine will be, written down."""
        async with self._placing:
            shape, offering, uri = await placing.choose(self._fleet, spec, request.candidates)
            record = self._record(request, spec, shape=shape, offering=offering, uri=uri, image=image)
            self._fleet.records.write(record)
        return record

    def _record(
        self,
        request: LaunchRequest,
        spec: LibvirtNodeClassSpec,
        *,
        shape: Shape,
        offering: Offering,
        uri: str,
        image: Image,
    ) -> Record:
        taken = {record.address for record in self._fleet.records.all()}
        avoided = uplinks.address(self._context.uplink) if self._context.uplink else None
        return Record(
            claim_uid=request.claim_uid,
            claim_name=request.claim_name,
            cluster=self._fleet.cluster,
            node_pool=request.node_pool,
            uri=uri,
            instance_type=shape.name,
            zone=offering.zone,
            cpu=shape.cpu,
            memory=shape.memory,
            disk=shape.disk,
            pods=shape.pods,
            resources=shape.resources,
            pool=spec.pool,
            address="" if spec.network else addresses.address_of(request.claim_uid, taken, avoided=avoided),
            image=image.name,
            node_class_hash=catalogue.static_hash(spec),
            created_at=self._now(),
        )

    async def _machine_of(self, record: Record) -> Machine:
        """:raises MachineNotFoundError: its hypervisor has it no longer"""
        found = await self._fleet.find(record)
        if found is None:
            raise MachineNotFoundError(self._provider_id(record.claim_uid))
        return self._machine(Listed(record, found, answers=True))

    def _machine(self, listed: Listed) -> Machine:
        record, found = listed.record, listed.found
        amounts = catalogue.capacity(record.cpu, record.memory, record.disk, record.pods, record.resources)
        state: State = "terminating" if self._fleet.is_going(record.claim_uid) else _state(listed)
        given = (record.address,) if record.address else ()
        return Machine(
            provider_id=self._provider_id(record.claim_uid),
            claim_uid=record.claim_uid,
            claim_name=record.claim_name,
            instance_type=record.instance_type,
            zone=record.zone,
            capacity_type=labels.CAPACITY_ON_DEMAND,
            state=state,
            created_at=record.created_at,
            capacity=amounts,
            allocatable=amounts,
            labels=catalogue.node_labels(record.instance_type, record.zone),
            image=record.image,
            addresses=found.addresses if found else given,
        )

    def _provider_id(self, claim_uid: str) -> ProviderID:
        return ProviderID(f"{self.name}://{self._context.cluster}/{claim_uid}")

    def _claim_uid(self, provider_id: ProviderID) -> str:
        """:raises MachineNotFoundError: it is another cluster's, or no machine's at all"""
        prefix = self._provider_id("")
        if not provider_id.startswith(prefix) or not is_uid(provider_id[len(prefix) :]):
            raise MachineNotFoundError(provider_id)
        return provider_id[len(prefix) :]


def _state(listed: Listed) -> State:
    """One that can't be asked counts as running: it may be."""
    if listed.found is not None:
        return listed.found.state
    return "pending" if listed.answers else "running"


def _is_like(record: Record, shape: Shape) -> bool:
    """Whether a machine of that shape would be the same."""
    was = (record.cpu, record.memory, record.disk, record.pods, dict(record.resources))
    return was == (shape.cpu, shape.memory, shape.disk, shape.pods, shape.resources)


async def _reachable(uplink: str) -> None:
    try:
        await uplinks.ensure(uplink)
    except EnvironmentFault as error:
        raise NodeClassNotReadyError(str(error)) from error


def _key(state_dir: Path) -> str:
    try:
        host = _MACHINE_ID.read_text(encoding="ascii")
    except OSError:
        host = ""
    return hashlib.sha256(f"{host}\0{state_dir.resolve()}".encode()).hexdigest()[:8]
