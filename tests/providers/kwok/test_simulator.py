"""The real kwok on a real control plane."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from autonodes.kube.client import KubeClient
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import DEPLOYMENTS, JOBS, NAMESPACES, NODES, PODS
from autonodes.provider import LaunchRequest
from providers.kwok import KwokProvider, kwok_command
from providers.kwok.simulator import STAGES

Object = dict[str, Any]
PATIENCE = 120.0
"""Seconds after which something will not come any more; nothing here depends on how long it takes."""


async def eventually(find: Callable[[], Awaitable[Any]]) -> Any:
    """What ``find`` gives as soon as that is something."""
    async with asyncio.timeout(PATIENCE):
        while not (found := await find()):  # noqa: ASYNC110 -- the API server is asked, there is no event to wait for
            await asyncio.sleep(0.1)
        return found


def is_ready(body: Object) -> bool:
    conditions = body["status"].get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def template(**spec: Any) -> Object:
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "500m"}}}
    tolerations = [{"key": "karpenter.sh/unregistered", "operator": "Exists"}]
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [container], "tolerations": tolerations, "terminationGracePeriodSeconds": 3600} | spec,
    }


@pytest.mark.integration
async def test_pods_run_and_go_on_a_simulated_node(
    kwok: subprocess.Popen[bytes],
    provider: KwokProvider,
    kube: KubeClient,
    order: Callable[..., LaunchRequest],
) -> None:
    machine = await provider.create(order())
    node = await eventually(lambda: ready_node(kube, machine.claim_name))
    assert node["status"]["nodeInfo"]["architecture"] == "amd64"
    assert node["status"]["allocatable"]["cpu"] == "3900m"
    assert node["status"]["addresses"][1]["address"].startswith("198.")

    await kube.create(NAMESPACES, {"metadata": {"name": "web"}})
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template()}
    await kube.create(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": spec}, "web")
    pods = await eventually(lambda: ready_pods(kube, 3))
    assert {pod["spec"]["nodeName"] for pod in pods} == {machine.claim_name}
    assert len({pod["status"]["podIP"] for pod in pods}) == 3
    assert {pod["status"]["phase"] for pod in pods} == {"Running"}

    await kube.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 0}}, "web")
    await eventually(lambda: no_pods(kube))

    job = {"template": template(restartPolicy="Never", initContainers=[{"name": "first", "image": "none"}])}
    await kube.create(JOBS, {"metadata": {"name": "once"}, "spec": job}, "web")
    assert await eventually(lambda: completions(kube)) == 1

    await provider.delete(machine.provider_id)
    with pytest.raises(NotFoundError):
        await kube.get(NODES, machine.claim_name)


@pytest.mark.integration
async def test_a_node_of_somebody_else_is_left_alone(
    kwok: subprocess.Popen[bytes],
    provider: KwokProvider,
    kube: KubeClient,
    order: Callable[..., LaunchRequest],
) -> None:
    await kube.create(NODES, {"metadata": {"name": "real"}})
    machine = await provider.create(order())
    await eventually(lambda: ready_node(kube, machine.claim_name))
    assert not is_ready(await kube.get(NODES, "real"))
    await kube.delete(NODES, "real")


async def ready_node(kube: KubeClient, name: str) -> Object | None:
    node = await kube.get(NODES, name)
    return node if is_ready(node) else None


async def ready_pods(kube: KubeClient, count: int) -> list[Object] | None:
    pods = [pod for pod in await kube.list(PODS, "web") if is_ready(pod)]
    return pods if len(pods) == count else None


async def no_pods(kube: KubeClient) -> bool:
    return not await kube.list(PODS, "web")


async def completions(kube: KubeClient) -> int:
    succeeded: int = (await kube.get(JOBS, "once", "web"))["status"].get("succeeded", 0)
    return succeeded


def test_the_command_names_only_annotated_nodes_and_no_secret() -> None:
    command = kwok_command(Path("/x/kubeconfig"), binary="/bin/kwok", server_address="127.0.0.1:1")
    assert command[0] == "/bin/kwok"
    assert "--manage-all-nodes=false" in command
    assert "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake" in command
    assert command[-1] == "--server-address=127.0.0.1:1"


def test_every_stage_of_a_pod_ends_somewhere() -> None:
    names = [stage["metadata"]["name"] for stage in yaml.safe_load_all(STAGES.read_text())]
    assert names == ["node-ready", "pod-running", "pod-succeeded", "pod-deleted"]
