"""A real API server with a real scheduler, a cloud, kubelets on its machines, and the controller."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from autonodes.kube.client import KubeClient
from autonodes.kube.resources import NAMESPACES, SERVICEACCOUNTS
from controllers.stage import Stage
from controlplane import RunningControlPlane, control_plane


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane"), with_scheduler=True) as running:
        running.install_kinds()
        yield running


@pytest.fixture
async def admin(plane: RunningControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(plane.kubeconfig) as client:
        yield client


@pytest.fixture
async def namespace(admin: KubeClient) -> str:
    name = f"test-{uuid.uuid4().hex[:8]}"
    await admin.create(NAMESPACES, {"metadata": {"name": name}})
    # no controller manager runs here, so the account that admission asks for is made by hand
    await admin.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": name}})
    return name


@pytest.fixture
async def stage(plane: RunningControlPlane, admin: KubeClient, namespace: str, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(plane.kubeconfig, admin, namespace, tmp_path / "cloud")
    try:
        yield stage
    finally:
        await stage.sweep()
