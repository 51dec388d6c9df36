"""The libvirt provider on two hypervisors of libvirt's own test driver: all but the machines' insides is real."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from autonodes.conformance import DriftCase, Fault, Rig
from autonodes.provider import Machine
from libvirt_machines import Setting, setting
from nocloud_seeds import files_of
from providers.libvirt import LibvirtProvider
from providers.libvirt.domains import metadata
from providers.libvirt.records import domain_uuid, from_metadata


class LibvirtRig(Rig):
    without: ClassVar = {
        Fault.THROTTLING: "a hypervisor takes as many calls as it can",
        Fault.OUTAGE: "a hypervisor that does not answer hides no other: see tests/providers/libvirt/test_outages.py",
        Fault.BROKEN_LIST: "a hypervisor's list comes in one piece",
    }
    one_stock = True

    def __init__(self, made: Setting) -> None:
        self._made = made

    @property
    def provider(self) -> LibvirtProvider:
        return self._made.provider

    @property
    def node_class(self) -> Mapping[str, Any]:
        return self._made.node_class

    async def restart(self) -> LibvirtProvider:
        return await self._made.start()

    async def stranger(self) -> LibvirtProvider:
        context = self._made.context
        elsewhere = dataclasses.replace(context, cluster="stranger", state_dir=context.state_dir.with_name("stranger"))
        made = await self._made.start(elsewhere)
        self._made.providers.insert(0, self._made.providers.pop())
        return made

    def _domain(self, claim_uid: str) -> Any:
        for uri in self._made.hypervisors.gates:
            for domain in self._made.hypervisors.domains(uri):
                if domain.UUIDString() == domain_uuid(claim_uid):
                    return domain
        return None

    async def count(self, claim_uid: str) -> int:
        return sum(
            domain.UUIDString() == domain_uuid(claim_uid)
            for uri in self._made.hypervisors.gates
            for domain in self._made.hypervisors.domains(uri)
        )

    async def leftovers(self) -> Sequence[str]:
        hypervisors, state = self._made.hypervisors, self._made.context.state_dir
        return [
            *(domain.name() for uri in hypervisors.gates for domain in hypervisors.domains(uri)),
            *(name for uri in hypervisors.gates for name in hypervisors.machine_volumes(uri)),
            *(str(path) for path in (state / "libvirt").rglob("*.json")),
        ]

    async def tags(self, machine: Machine) -> Mapping[str, str]:
        found = from_metadata(metadata(self._domain(machine.claim_uid).XMLDesc()) or "")
        assert found is not None
        return {
            "cluster": found.cluster.rpartition("-")[0],
            "claim-uid": found.claim_uid,
            "claim": found.claim_name,
            "nodepool": found.node_pool,
        }

    def unusable(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        spec = self.node_class["spec"]
        image = self._made.context.machine_image
        wrong = {"disk": f"{image}/disk.qcow2", "checksum": "sha256:" + "0" * 64}
        return (
            ({"spec": {**spec, "network": "nowhere"}}, "nowhere"),
            ({"spec": {**spec, "pool": "puddle"}}, "puddle"),
            ({"spec": {**spec, "image": wrong}}, "checksum"),
            ({"spec": {"hypervisors": [{"uri": "test:///gone"}]}}, "test:///gone"),
            ({"spec": {**spec, "secureBoot": True}}, "uefi"),
        )

    def drifts(self) -> Sequence[DriftCase]:
        spec = self.node_class["spec"]
        other = [{"name": "a", "cpu": 1, "memory": "1Gi", "price": 1.0}]
        return (
            DriftCase(node_class={"spec": {**spec, "instanceTypes": other}}, reason="InstanceTypeNotFound"),
            DriftCase(node_class={"spec": {**spec, "vtpm": True}}, reason="NodeClassDrift"),
            DriftCase(node_class={"spec": {"hypervisors": [{"uri": "test:///gone"}]}}, reason="HypervisorNotFound"),
        )

    async def sell_out(self, offerings: Sequence[tuple[str, str, str]]) -> None:
        assert offerings
        listed = [{**each, "memory": "1Mi"} for each in self.node_class["spec"]["hypervisors"]]
        self._made.use(hypervisors=listed)

    async def boot_files(self, machine: Machine) -> Mapping[str, tuple[bytes, int]]:
        return files_of(self._made.hypervisors.seed_of(machine.claim_uid))

    async def lose_answer(self) -> None:
        self._made.hypervisors.lose("defineXML")

    async def announce_loss(self, machine: Machine) -> None:
        self._domain(machine.claim_uid).destroy()


@contextlib.asynccontextmanager
async def libvirt_rig(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[LibvirtRig]:
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    async with setting(directory, monkeypatch, zones=("a", "b")) as made:
        yield LibvirtRig(made)
