"""One API server for all tests of this directory, and a namespace for each."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from autonodes.api.crds import crds
from autonodes.kube.client import KubeClient
from autonodes.kube.resources import CRDS, NAMESPACES, NODES, PODS, SERVICEACCOUNTS
from autonodes.verify.faultproxy import FaultProxy
from controlplane import RunningControlPlane, control_plane


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    with control_plane(tmp_path_factory.mktemp("kube")) as running:
        yield running


@pytest.fixture(scope="module")
def installed(api: RunningControlPlane) -> None:
    """This project's kinds are served."""

    async def install() -> None:
        async with KubeClient.from_kubeconfig(api.kubeconfig) as client:
            for crd in crds():
                await client.apply(CRDS, crd, field_manager="test")

    asyncio.run(install())
    api.until_kinds_are_served()


@pytest.fixture
async def client(api: RunningControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(api.kubeconfig) as client:
        yield client


@pytest.fixture
async def proxy(api: RunningControlPlane) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(api.kubeconfig).running() as proxy:
        yield proxy


@pytest.fixture
async def namespace(client: KubeClient) -> AsyncIterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    # no controller manager runs here, so the account that admission asks for is made by hand
    await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": name}})
    yield name
    for pod in await client.list(PODS, name):
        await client.delete(PODS, pod["metadata"]["name"], name, grace_period=0)


@pytest.fixture
async def node(client: KubeClient) -> AsyncIterator[str]:
    name = f"node-{uuid.uuid4().hex[:8]}"
    await client.create(NODES, {"metadata": {"name": name}})
    yield name
    await client.delete(NODES, name)


def pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "100m"}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}
