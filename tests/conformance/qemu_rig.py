"""The libvirt provider on a libvirt daemon that really starts QEMU: machines of which each boots, and is then removed.

What they do once they have booted is for ``tests/e2e/test_libvirt_machines.py``; the kit's plan starts no process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import libvirt
import pytest

from autonodes.kube.client import KubeClient
from autonodes.provider import ProviderContext
from conformance.libvirt_rig import LibvirtRig
from libvirt_daemon import Daemon
from libvirt_machines import Hypervisors, NodeClasses, Setting
from machine_images import node_image
from providers.libvirt import connections, images


class RealHypervisor(Hypervisors):
    """The same questions as to the test driver's hypervisors, asked of the daemon and its files."""

    def __init__(self, running: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(running.directory, gates={running.uri: cast(Any, None)})
        self._daemon, self._monkeypatch = running, monkeypatch

    def upload(self, connection: Any, volume: Any, content: Path | bytes) -> None:
        images.send(connection, volume, content)

    def seed_of(self, claim_uid: str) -> bytes:
        (path,) = (self.directory / "pool").glob(f"*-{claim_uid}-seed.iso")
        return path.read_bytes()

    def domains(self, uri: str) -> list[Any]:
        connection = libvirt.open(uri)  # ends with its last domain
        return list(connection.listAllDomains())

    def volumes(self, uri: str) -> list[str]:
        return sorted(path.name for path in (self.directory / "pool").iterdir())

    def lose(self, name: str) -> None:
        """The next such call is carried out, and then the daemon dies; another one takes over its machines."""
        original = getattr(libvirt.virConnect, name)

        def dying(connection: libvirt.virConnect, *arguments: Any) -> Any:
            original(connection, *arguments)
            self._monkeypatch.setattr(libvirt.virConnect, name, original)
            self._daemon.kill()
            self._daemon.start()
            return connection.getHostname()  # there is nobody on the other end

        self._monkeypatch.setattr(libvirt.virConnect, name, dying)


class QemuRig(LibvirtRig):
    many = 2  # the list comes in one piece, however long it is

    def __init__(self, made: Setting, running: Daemon) -> None:
        super().__init__(made)
        self._daemon = running

    async def leftovers(self) -> Sequence[str]:
        return [*await super().leftovers(), *(f"process {pid}" for pid in self._daemon.machines())]


@contextlib.asynccontextmanager
async def qemu_rig(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[QemuRig]:
    running: Daemon = request.getfixturevalue("hypervisor")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setattr(connections, "RETRY", 0.0)
    known = images.Checksums()  # half a gigabyte is summed up once, not for each provider that the kit starts
    monkeypatch.setattr(images, "Checksums", lambda: known)
    spec = {"hypervisors": [{"uri": running.uri, "zone": "a"}], "acceleration": "tcg"}
    node_classes = NodeClasses([{"metadata": {"name": "default"}, "spec": spec}])
    context = ProviderContext(
        cluster="here",
        state_dir=directory / "state",
        component_dirs=(),
        images=(),
        uplink="",
        kube=cast(KubeClient, node_classes),
        machine_image=await asyncio.to_thread(node_image),
    )
    made = Setting(RealHypervisor(running, monkeypatch), context, node_classes)
    await made.start()
    try:
        yield QemuRig(made, running)
    finally:
        await made.close()
