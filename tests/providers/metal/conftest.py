"""One API server and one hall for all tests here; each test enlists hosts of its own in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from autonodes.kube.client import KubeClient
from autonodes.kube.resources import BAREMETALHOSTS, node_class
from controlplane import RunningControlPlane, control_plane
from metal_tenant import Tenant
from providers.metal.allocations import Allocations
from redfish import Emulator, Hall, emulator

HOSTS = 4


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    with control_plane(tmp_path_factory.mktemp("metal")) as running:
        running.install_kinds()
        yield running


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("emulated"), HOSTS) as running:
        yield running


@pytest.fixture
async def kube(plane: RunningControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(plane.kubeconfig) as client:
        yield client
        for host in await client.list(BAREMETALHOSTS):
            await client.delete(BAREMETALHOSTS, host["metadata"]["name"])
        await Allocations(client).change(lambda table: table.clear())


@pytest.fixture
async def hall(kube: KubeClient, emulated: Emulator) -> AsyncIterator[Hall]:
    async with Hall(kube, emulated).running() as running:
        yield running


@pytest.fixture
async def tenant(kube: KubeClient, hall: Hall, tmp_path: Path) -> AsyncIterator[Tenant]:
    made = Tenant(kube, hall, tmp_path)
    body = {"apiVersion": "autonodes.io/v1alpha1", "kind": "MetalNodeClass", **made.node_class}
    await kube.apply(node_class("MetalNodeClass"), body, field_manager="test")
    await made.start()
    yield made
    await made.stop()
