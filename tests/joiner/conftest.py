"""A control plane that signs certificates, with everything in it that a joining machine meets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

import joiner.addons
from autonodes.api.crds import crds
from autonodes.kube.client import KubeClient
from autonodes.kube.resources import CRDS, resource_of
from controlplane import RunningControlPlane, control_plane


@pytest.fixture(scope="session")
def signing_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    with control_plane(tmp_path_factory.mktemp("joiner"), controller_manager=True) as running:
        asyncio.run(_install(running.kubeconfig))
        running.until_kinds_are_served()
        yield running


@pytest.fixture
async def admin(signing_plane: RunningControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(signing_plane.kubeconfig) as client:
        yield client


@pytest.fixture
async def controller(signing_plane: RunningControlPlane) -> AsyncIterator[KubeClient]:
    """With the rights of the controller and no more."""
    async with KubeClient.from_kubeconfig(signing_plane.kubeconfig_of("controller")) as client:
        yield client


async def _install(kubeconfig: Path) -> None:
    (directory,) = joiner.addons.__path__
    rights = (Path(directory) / "bootstrap.yaml").read_text()
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        for body in [*crds(), *yaml.safe_load_all(rights)]:
            resource = CRDS if body["kind"] == CRDS.kind else resource_of(body)
            await client.apply(resource, body, field_manager="test")
