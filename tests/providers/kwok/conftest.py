"""A real control plane with its scheduler and controllers, and the real kwok beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from autonodes.core.model import InstanceType, Offering, Taint
from autonodes.kube.client import KubeClient
from autonodes.kube.resources import NODES
from autonodes.provider import LaunchRequest, NodeSettings, ProviderContext
from controlplane import RunningControlPlane, control_plane
from providers.kwok import KwokProvider, catalogue, kwok_command

NODE_CLASS: dict[str, Any] = {"metadata": {"name": "default"}, "spec": {}}
Candidates = tuple[tuple[InstanceType, Offering], ...]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    with control_plane(tmp_path_factory.mktemp("kwok"), controller_manager=True, with_scheduler=True) as running:
        yield running


@pytest.fixture
async def kube(plane: RunningControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(plane.kubeconfig) as client:
        yield client


@pytest.fixture
async def provider(kube: KubeClient, tmp_path: Path) -> AsyncIterator[KwokProvider]:
    """One of a cluster of its own; its machines are gone at the end."""
    context = ProviderContext(
        cluster=f"c-{uuid.uuid4().hex[:8]}",
        state_dir=tmp_path,
        component_dirs=(),
        images=(),
        uplink="100.64.0.0/30",
        kube=kube,
    )
    provider = KwokProvider(context)
    await provider.start()
    yield provider
    for machine in await provider.list():
        await kube.merge_patch(NODES, machine.claim_name, {"metadata": {"finalizers": None}})
        await provider.delete(machine.provider_id)
    await provider.close()


class NobodyJoins:
    """A simulated machine is its own Node: it asks nobody how to join."""

    node_name = ""

    def boot_plan(self, settings: NodeSettings) -> NoReturn:
        raise AssertionError(f"asked to boot {settings.provider_id}")


@pytest.fixture
def order() -> Callable[..., LaunchRequest]:
    """Of a machine for a new claim, of the cheapest size if not told otherwise."""

    def make(candidates: Candidates | None = None, **fields: Any) -> LaunchRequest:
        uid = str(uuid.uuid4())
        given: dict[str, Any] = {
            "claim_uid": uid,
            "claim_name": f"default-{uid[:8]}",
            "node_pool": "default",
            "candidates": offers("s-4x-amd64-linux") if candidates is None else candidates,
            "node_class": NODE_CLASS,
            "labels": {"team": "a"},
            "taints": (Taint("karpenter.sh/unregistered", "", "NoExecute"),),
            "bootstrap": NobodyJoins(),
        }
        return LaunchRequest(**given | fields)

    return make


def offers(*names: str, node_class: dict[str, Any] = NODE_CLASS) -> Candidates:
    """Every offering of these types, cheapest first."""
    found = [
        (offered, offering)
        for offered in catalogue.instance_types(node_class)
        for offering in offered.offerings
        if offered.name in names
    ]
    return tuple(sorted(found, key=lambda each: (each[1].price, each[1].zone)))


@pytest.fixture
def kwok(plane: RunningControlPlane, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The simulator, running."""
    search = os.environ.get("AUTONODES_COMPONENTS", "") + os.pathsep + os.environ.get("PATH", "")
    binary = shutil.which("kwok", path=search)
    if binary is None:
        pytest.fail("no kwok: set AUTONODES_COMPONENTS to the directory that holds it")
    log = tmp_path / "kwok.log"
    with log.open("wb") as output:
        child = subprocess.Popen(kwok_command(plane.kubeconfig, binary=binary), stdout=output, stderr=output)
    try:
        yield child
        assert child.poll() is None, log.read_text(errors="replace")
    finally:
        child.kill()
        child.wait(timeout=30)
