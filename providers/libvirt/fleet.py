"""What there is: the hypervisors, the machines on them, and the files that say where a machine may be.

A hypervisor that answers has the last word about what exists on it: a file without a domain is left over from a caller
that was killed, a domain without a file gets one. Of a hypervisor that does not answer, the files say what there was.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import libvirt

from autonodes.api.libvirtnodeclass import LibvirtNodeClassSpec
from autonodes.kube.client import KubeClient
from autonodes.kube.resources import node_class
from autonodes.provider import NodeClassNotReadyError, ProviderError
from providers.libvirt import catalogue, machines
from providers.libvirt.connections import Hypervisor
from providers.libvirt.errors import HypervisorGoneError, said
from providers.libvirt.machines import Found
from providers.libvirt.records import Record, Records, domain_uuid

log = logging.getLogger(__name__)

_SILENT = (HypervisorGoneError, libvirt.libvirtError)


@dataclass(frozen=True, slots=True)
class Listed:
    """:param found: what its hypervisor says; None if that does not answer, or has not made it yet
    :param answers: whether the hypervisor does
    """

    record: Record
    found: Found | None
    answers: bool


class Fleet:
    """:param cluster: whose machines; as it stands in their metadata
    :param kind: of the node classes that name hypervisors
    """

    def __init__(self, directory: Path, *, cluster: str, kube: KubeClient, kind: str) -> None:
        self.records, self.cluster = Records(directory / "machines"), cluster
        self._kube, self._kind = kube, kind
        self._hypervisors: dict[str, Hypervisor] = {}
        self._busy: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def close(self) -> None:
        """End all connections."""
        await asyncio.gather(*(each.close() for each in self._hypervisors.values()))
        self._hypervisors.clear()

    def hypervisor(self, uri: str) -> Hypervisor:
        if uri not in self._hypervisors:
            self._hypervisors[uri] = Hypervisor(uri, _heard)
        return self._hypervisors[uri]

    @contextlib.asynccontextmanager
    async def only_one(self, claim_uid: str) -> AsyncIterator[None]:
        """Keep all other calls from this machine."""
        async with self._busy[claim_uid]:
            yield
        if not self._busy[claim_uid].locked() and self.records.get(claim_uid) is None:
            self._busy.pop(claim_uid, None)

    def _is_busy(self, claim_uid: str) -> bool:
        return claim_uid in self._busy and self._busy[claim_uid].locked()

    async def specs(self) -> list[LibvirtNodeClassSpec]:
        """Of all node classes, whatever state they are in; one that can't be read has no machines."""
        found = []
        for each in await self._kube.list(node_class(self._kind)):
            with contextlib.suppress(NodeClassNotReadyError):
                found.append(catalogue.parsed(each))
        return found

    async def known(self, claim_uid: str) -> Record | None:
        """From its file, or else from a hypervisor that has it."""
        if (record := self.records.get(claim_uid)) is not None:
            return record
        for uri in await self._configured():
            with contextlib.suppress(*_SILENT):
                found = await self.hypervisor(uri).call(
                    lambda connection: machines.find(connection, domain_uuid(claim_uid), self.cluster)
                )
                if found is not None:
                    return self._adopt(found.record, uri)
        return None

    async def find(self, record: Record) -> Found | None:
        """What its hypervisor has of it now.

        :raises ProviderError: it does not answer
        """
        try:
            return await self.hypervisor(record.uri).call(
                lambda connection: machines.find(connection, record.domain_uuid, record.cluster)
            )
        except libvirt.libvirtError as error:
            raise ProviderError(f"{record.uri}: {said(error)}") from error

    async def list(self) -> list[Listed]:
        """All machines, by claim."""
        written: dict[str, list[Record]] = defaultdict(list)
        for record in self.records.all():
            written[record.uri].append(record)
        uris = sorted({*written, *await self._configured()})
        listed = await asyncio.gather(*(self._list_of(uri, written[uri]) for uri in uris))
        return sorted((each for some in listed for each in some), key=lambda each: each.record.claim_uid)

    async def stopped(self) -> Sequence[Found]:
        """Machines that ran and don't any more, as far as their hypervisors answer."""
        uris = sorted({record.uri for record in self.records.all()})
        answers = await asyncio.gather(*(self._found_on(uri) for uri in uris), return_exceptions=True)
        return [
            each
            for found in answers
            if not isinstance(found, BaseException)
            for each in found
            if each.state == "stopped" and not self.is_going(each.record.claim_uid)
        ]

    def is_going(self, claim_uid: str) -> bool:
        """Whether its removal has begun."""
        record = self.records.get(claim_uid)
        return record is not None and record.terminating

    async def remove(self, record: Record) -> None:
        """Everything of a machine, its file last.

        :raises ProviderError: not finished; repeat
        """
        self.records.write(dataclasses.replace(record, ordered=True, terminating=True))
        hypervisor = self.hypervisor(record.uri)
        try:
            await hypervisor.call(lambda connection: machines.stop(connection, record))
            await hypervisor.call(lambda connection: machines.remove_volumes(connection, record))
            await hypervisor.call(lambda connection: machines.undefine(connection, record))
        except libvirt.libvirtError as error:
            raise ProviderError(f"{record.uri}: {said(error)}; trying again later") from error
        self.records.remove(record.claim_uid)

    async def _configured(self) -> Collection[str]:
        return sorted({each.uri for spec in await self.specs() for each in spec.hypervisors})

    async def _found_on(self, uri: str) -> Sequence[Found]:
        return await self.hypervisor(uri).call(lambda connection: machines.find_all(connection, self.cluster))

    async def _list_of(self, uri: str, written: Sequence[Record]) -> Sequence[Listed]:
        try:
            found = {each.record.claim_uid: each for each in await self._found_on(uri)}
        except _SILENT as error:
            if written:
                log.warning("%d machines are listed as they were: %s", len(written), error)
            return [Listed(record, None, answers=False) for record in written if record.ordered]
        for uid, each in found.items():
            if self.records.get(uid) is None and not self._is_busy(uid):
                self._adopt(each.record, uri)
        for record in written:
            if record.claim_uid not in found and not self._is_busy(record.claim_uid):
                await self._forget(record)
        coming = [each for each in written if each.claim_uid not in found and self.records.get(each.claim_uid)]
        return [
            *(Listed(each.record, each, answers=True) for each in found.values()),
            *(Listed(record, None, answers=True) for record in coming),
        ]

    async def _forget(self, record: Record) -> None:
        """Its hypervisor has no such domain: nobody came to define it, or somebody removed it by hand."""
        async with self.only_one(record.claim_uid):
            try:
                if self.records.get(record.claim_uid) is not None and await self.find(record) is None:
                    await self.remove(record)
            except ProviderError as error:
                log.warning("what is left of %s stays for now: %s", record.claim_name, error)

    def _adopt(self, record: Record, uri: str) -> Record:
        """A machine without a file; it may have been moved to this hypervisor."""
        adopted = dataclasses.replace(record, uri=uri, ordered=True)
        self.records.write(adopted)
        return adopted


def _heard(uuid: str, event: int, detail: int) -> None:
    """In libvirt's thread: a machine that crashes is in the log at the second in which it does."""
    crashed = event == libvirt.VIR_DOMAIN_EVENT_CRASHED or (
        event == libvirt.VIR_DOMAIN_EVENT_STOPPED
        and detail in (libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED)
    )
    if crashed:
        log.warning("domain %s crashed", uuid)
