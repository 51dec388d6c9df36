"""A workload's only pod has its successor before it goes, with Kubernetes' own controllers at work."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from autonodes.controllers.clock import SystemClock
from autonodes.controllers.draining import Drain
from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.volumes import Volumes
from autonodes.core.model import Pod
from autonodes.kube.client import KubeClient
from autonodes.kube.decoding import decode_pod
from autonodes.kube.events import EventRecorder
from autonodes.kube.resources import DEPLOYMENTS, NAMESPACES, NODES, PODS
from controlplane import RunningControlPlane, control_plane

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    with control_plane(tmp_path_factory.mktemp("managed"), controller_manager=True, with_scheduler=True) as running:
        yield running


@pytest.fixture
async def client(managed: RunningControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(managed.kubeconfig) as client:
        yield client


async def _deployed(client: KubeClient, **annotations: str) -> str:
    """One pod of a Deployment on a node of its own, ready: its namespace, which the node is called like."""
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    await client.create(NAMESPACES, {"metadata": {"name": namespace}})
    template = {
        "metadata": {"labels": {"app": "web"}, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    await client.create(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": spec}, namespace)
    (name,) = await _until(lambda: _names(client, namespace))
    await client.create(NODES, {"metadata": {"name": namespace}, "spec": {"unschedulable": True}})
    binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": namespace}}
    await client.create(PODS, binding, namespace, name=name, subresource="binding")
    await _make_ready(client, namespace, name)
    return namespace


async def _names(client: KubeClient, namespace: str) -> list[str]:
    return [each["metadata"]["name"] for each in await client.list(PODS, namespace)]


async def _make_ready(client: KubeClient, namespace: str, name: str) -> None:
    """As its kubelet would."""
    conditions = [{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}]
    patch = {"status": {"phase": "Running", "conditions": conditions}}
    await client.merge_patch(PODS, name, patch, namespace, subresource="status")


async def _until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(90):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(0.05)


async def _pods(client: KubeClient, namespace: str) -> dict[str, Pod]:
    pages = client.pages(PODS, namespace)
    found = [decode_pod(bytes(raw)) async for page in pages for raw in page.items or ()]
    return {pod.name: pod for pod in found}


def _drain(client: KubeClient) -> Drain:
    clock = SystemClock()
    return Drain(client, Volumes(client), EventRecorder(client, clock), clock, ControllerSettings())


async def test_the_only_pod_leaves_when_its_successor_is_ready(client: KubeClient) -> None:
    namespace = await _deployed(client, **{"autonodes.io/surge": "true"})
    ((old, pod),) = (await _pods(client, namespace)).items()
    await _drain(client).step([pod], None)
    (new,) = await _until(lambda: _others(client, namespace, old))
    await _drain(client).step([pod], None)  # by a successor of the drain, which asks for nothing more
    present = await _pods(client, namespace)
    assert set(present) == {old, new}
    assert present[old].deleted_at is None
    await _make_ready(client, namespace, new)
    await _until(lambda: _is_going(client, namespace, old))
    assert set(await _pods(client, namespace)) <= {old, new}


async def _others(client: KubeClient, namespace: str, but: str) -> list[str]:
    return [name for name in await _names(client, namespace) if name != but]


async def _is_going(client: KubeClient, namespace: str, name: str) -> bool:
    pod = (await _pods(client, namespace)).get(name)
    return pod is None or pod.deleted_at is not None


async def test_who_does_not_ask_is_evicted(client: KubeClient) -> None:
    namespace = await _deployed(client)
    ((old, pod),) = (await _pods(client, namespace)).items()
    await _drain(client).step([pod], None)
    await _until(lambda: _is_going(client, namespace, old))
    restarted = (await client.get(DEPLOYMENTS, "web", namespace))["spec"]["template"]["metadata"]
    assert "kubectl.kubernetes.io/restartedAt" not in (restarted.get("annotations") or {})
