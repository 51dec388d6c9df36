"""Hypervisors for tests: libvirt's own test driver, several of them, behind a gate that breaks as a network does.

The driver keeps domains, volumes, networks and metadata as a real one does, and machines that never really run. It has
no streams, so that what is uploaded is kept here.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import libvirt
import pytest

from autonodes.kube.client import KubeClient
from autonodes.provider import Bootstrap, LaunchRequest, MachineNotFoundError, ProviderContext
from local_machines import Idle
from providers.libvirt import LibvirtProvider, connections

NODE = """\
<node>
  <cpu><mhz>2000</mhz><nodes>1</nodes><sockets>1</sockets><cores>16</cores><threads>1</threads></cpu>
  <memory>{memory}</memory>
  <network><name>lan</name><bridge name="virbr0"/><ip address="192.0.2.1" netmask="255.255.255.0"/></network>
  <pool type="dir"><name>default</name><target><path>/pool</path></target></pool>
  {devices}
</node>
"""
GPU = """\
<device><name>pci_0000_65_{slot:02x}_0</name><parent>computer</parent><capability type="pci">
  <class>0x030200</class><domain>0</domain><bus>101</bus><slot>{slot}</slot><function>0</function>
  <product id="0x20b0">A100</product><vendor id="0x10de">NVIDIA</vendor>
</capability></device>
"""
COMPUTER = """\
<device><name>computer</name><capability type="system"><hardware><vendor>v</vendor><serial>s</serial>
  <uuid>4c4c4544-0042-3510-8051-b4c04f4d4e31</uuid></hardware><firmware/></capability></device>
"""


class Gate:
    """A connection of which all others are copies. ``broken``: whoever calls hears that it was cut.

    :param losing: names of calls that are carried out once more, before the connection is cut and the answer lost
    """

    def __init__(self, connection: Any, losing: set[str]) -> None:
        self._connection, self._losing = connection, losing
        self.broken = self.cut = False

    def close(self) -> None:
        """Others have it open too."""

    def isAlive(self) -> int:
        return int(not self.broken and not self.cut)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            if self.broken:
                raise libvirt.libvirtError("the connection was cut")
            answer = found(*arguments)
            if name in self._losing:
                self._losing.remove(name)
                self.cut = True
                raise libvirt.libvirtError("the connection was cut")
            return answer

        return call


@dataclass
class Hypervisors:
    """Some hypervisors, and what was uploaded to them: path → content."""

    directory: Path
    gates: dict[str, Gate] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    losing: set[str] = field(default_factory=set)

    def add(self, name: str, *, gibibytes: int = 64, gpus: int = 0) -> str:
        """Its URI."""
        devices = COMPUTER + "".join(GPU.format(slot=slot) for slot in range(gpus)) if gpus else ""
        path = self.directory / f"{name}.xml"
        path.write_text(NODE.format(memory=gibibytes * 2**20, devices=devices))
        uri = f"test://{path}"
        connections._run_event_loop()
        self.gates[uri] = Gate(_really_open(uri), self.losing)
        return uri

    def open(self, uri: str) -> Gate:
        if uri not in self.gates or self.gates[uri].broken:
            raise libvirt.libvirtError("connection refused")
        self.gates[uri].cut = False
        return self.gates[uri]

    def upload(self, _connection: Any, volume: Any, content: Path | bytes) -> None:
        self.uploads[volume.path()] = content if isinstance(content, bytes) else content.read_bytes()

    def lose(self, name: str) -> None:
        """The next such call is carried out, and its answer lost."""
        self.losing.add(name)

    def seed_of(self, claim_uid: str) -> bytes:
        """The volume that a claim's machine was given."""
        return next(content for path, content in self.uploads.items() if path.endswith(f"{claim_uid}-seed.iso"))

    def domains(self, uri: str) -> list[Any]:
        return cast(list[Any], self.gates[uri]._connection.listAllDomains())

    def volumes(self, uri: str) -> list[str]:
        pool = self.gates[uri]._connection.storagePoolLookupByName("default")
        return sorted(each.name() for each in pool.listAllVolumes())

    def machine_volumes(self, uri: str) -> list[str]:
        return [name for name in self.volumes(uri) if not name.startswith("autonodes-base-")]

    @contextlib.contextmanager
    def gone(self, uri: str) -> Iterator[None]:
        """It does not answer as long as this is entered."""
        self.gates[uri].broken = True
        yield
        self.gates[uri].broken = False


_really_open = libvirt.open


@dataclass
class NodeClasses:
    """What the API server is asked for."""

    items: list[Mapping[str, Any]] = field(default_factory=list)

    async def list(self, _resource: Any) -> Any:
        return self.items


@dataclass
class Setting:
    """A cluster with machines on some hypervisors."""

    hypervisors: Hypervisors
    context: ProviderContext
    node_classes: NodeClasses
    providers: list[LibvirtProvider] = field(default_factory=list)

    @property
    def provider(self) -> LibvirtProvider:
        return self.providers[-1]

    @property
    def node_class(self) -> Mapping[str, Any]:
        return self.node_classes.items[0]

    def use(self, **spec: Any) -> Mapping[str, Any]:
        """From now on the node class has these fields too."""
        changed = {**self.node_class, "spec": {**self.node_class["spec"], **spec}}
        self.node_classes.items[0] = changed
        return changed

    async def start(self, context: ProviderContext | None = None) -> LibvirtProvider:
        """A new provider, as after a restart; the old one is dropped."""
        made = LibvirtProvider(context or self.context, upload=self.hypervisors.upload)
        self.providers.append(made)
        await made.start()
        return made

    async def request(self, *, uid: str = "", size: str = "", bootstrap: Bootstrap | None = None) -> LaunchRequest:
        types = await self.provider.instance_types(self.node_class)
        offered = [
            (each, offering)
            for each in types
            if size in ("", each.name)
            for offering in each.offerings
            if offering.available
        ]
        bootstrap = bootstrap or Idle("node-1")
        return LaunchRequest(
            claim_uid=uid or str(uuid.uuid4()),
            claim_name=bootstrap.node_name,
            node_pool="default",
            candidates=tuple(sorted(offered, key=lambda each: each[1].price or 0)),
            node_class=self.node_class,
            labels={},
            taints=(),
            bootstrap=bootstrap,
        )

    async def delete(self, provider_id: Any) -> None:
        with contextlib.suppress(MachineNotFoundError):
            for _ in range(3):
                await self.provider.delete(provider_id)
            raise AssertionError(f"{provider_id} does not go")

    async def close(self) -> None:
        for provider in self.providers:
            await provider.close()


@contextlib.asynccontextmanager
async def setting(
    directory: Path, monkeypatch: pytest.MonkeyPatch, *, zones: Sequence[str] = ("a",)
) -> AsyncIterator[Setting]:
    """A hypervisor a zone, each called like its zone, and an image."""
    hypervisors = Hypervisors(directory)
    monkeypatch.setattr(libvirt, "open", hypervisors.open)
    monkeypatch.setattr(connections, "RETRY", 0.0)
    image = directory / "image"
    image.mkdir()
    for name in ("disk.qcow2", "vmlinuz", "initrd"):
        (image / name).write_bytes(b"QFI\xfb" + name.encode())
    listed = [{"uri": hypervisors.add(zone), "zone": zone} for zone in zones]
    node_class = {"metadata": {"name": "default"}, "spec": {"hypervisors": listed}}
    node_classes = NodeClasses([node_class])
    context = ProviderContext(
        cluster="here",
        state_dir=directory / "state",
        component_dirs=(),
        images=(),
        uplink="",
        kube=cast(KubeClient, node_classes),
        machine_image=image,
    )
    made = Setting(hypervisors, context, node_classes)
    await made.start()
    try:
        yield made
    finally:
        await made.close()
