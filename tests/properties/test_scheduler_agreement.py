"""What the planner predicts the real kube-scheduler accepts, whatever constraints pods have.

For each scenario the plan's machines are created as Nodes, and its pods one after another, each nominated to the node
that the plan gave it, so that kube-scheduler tries that node before any other. A pod that it put elsewhere, or left
pending, is taken back and tried again after the others. When a whole round brings no pod home, all are taken back, and
those of the kinds that were refused are tried before and after each of the others, which come in an order of chance: an
order in which all are accepted is enough, as the planner promises a state and not an order (pods that spread evenly
must often come before others that count and don't care). If there still is none after some orders, planner and
scheduler disagree.

Limits: the opposite (a pod that the planner gives up, though the scheduler would place it) is not looked for.

``AGREEMENT_SEEDS=100-250`` in the environment draws other scenarios, and more of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from autonodes.api.vcluster import Scheduler
from autonodes.core.labels import HOSTNAME, ZONE
from autonodes.core.planner import plan
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import NAMESPACES, NODES, PODS, SERVICEACCOUNTS, Resource, resource_of
from controlplane import RunningControlPlane, control_plane
from properties.plancheck import violations
from properties.scheduling_scenarios import (
    DEFAULT_SPREAD,
    ZONES,
    Manifest,
    Scenario,
    draw,
    draw_spread,
    read,
    service,
    targets,
)

FIRST, LAST = map(int, os.environ.get("AGREEMENT_SEEDS", "0-24").split("-"))
SEEDS = range(FIRST, LAST + 1)
SPREAD_SEEDS = range(6)
ORDERS = 16
CASES = sorted((Path(__file__).parents[1] / "cases").glob("*.yaml"))
"""Scenarios in which planner and scheduler once disagreed."""
GATE = {"name": "test/wait"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane"), with_scheduler=True) as running:
        yield running


@pytest.fixture
async def client(plane: RunningControlPlane) -> AsyncIterator[KubeClient]:
    async with _swept(plane) as client:
        yield client


@pytest.fixture(scope="module")
def spreading_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    """Its scheduler spreads pods that say nothing about it."""
    spread = Scheduler(pod_topology_spread=DEFAULT_SPREAD).arguments
    with control_plane(tmp_path_factory.mktemp("plane"), with_scheduler=True, pod_topology_spread=spread) as running:
        yield running


@pytest.fixture
async def spreading(spreading_plane: RunningControlPlane) -> AsyncIterator[KubeClient]:
    async with _swept(spreading_plane) as client:
        yield client


@contextlib.asynccontextmanager
async def _swept(plane: RunningControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(plane.kubeconfig) as client:
        yield client
        for resource in (PODS, NODES):
            for body in await client.list(resource):
                await _delete(client, resource, body)


@pytest.mark.integration
@pytest.mark.parametrize("seed", SEEDS)
async def test_the_scheduler_accepts_every_placement(client: KubeClient, seed: int) -> None:
    await _agree(client, draw(seed, (f"first-{seed}", f"second-{seed}")))


@pytest.mark.integration
@pytest.mark.parametrize("case", CASES, ids=[path.stem for path in CASES])
async def test_the_scheduler_accepts_what_it_once_refused(client: KubeClient, case: Path) -> None:
    await _agree(client, read(case))


@pytest.mark.integration
@pytest.mark.parametrize("seed", SPREAD_SEEDS)
async def test_the_scheduler_accepts_every_placement_under_default_constraints(
    spreading: KubeClient, seed: int
) -> None:
    await _agree(spreading, draw_spread(seed, (f"first-{seed}", f"second-{seed}")))


@pytest.mark.integration
async def test_the_scheduler_keeps_the_default_constraints_that_the_planner_keeps(spreading: KubeClient) -> None:
    """Three equal pods in one zone it would refuse, and the plan without the constraints puts them there."""
    namespace = "kept"
    scenario = Scenario(namespaces={namespace: {}}, default_spread=DEFAULT_SPREAD)
    scenario.waiting = [_web(namespace, number) for number in range(3)]
    scenario.selecting = [service("web", namespace, {"app": "web"})]
    zones = {each.candidates[0][1] for each in plan(scenario.snapshot()).purchases}
    assert len(zones) == 3
    naive = Scenario(namespaces=scenario.namespaces, waiting=scenario.waiting)
    places, bought = targets(plan(naive.snapshot()))
    assert len(bought) == 1
    await _create(spreading, scenario, [*bought, *(_elsewhere(bought[0], zone) for zone in ZONES)])
    assert await _place_in_order(spreading, [], scenario.waiting, places)


def _web(namespace: str, number: int) -> Manifest:
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "100m"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"web-{number}", "namespace": namespace, "labels": {"app": "web"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


def _elsewhere(node: Manifest, zone: str) -> Manifest:
    """A node like this one in another zone."""
    labels = {**node["metadata"]["labels"], ZONE: zone, HOSTNAME: f"in-{zone}"}
    return {**node, "metadata": {"name": f"in-{zone}", "labels": labels}}


async def _agree(client: KubeClient, scenario: Scenario) -> None:
    snapshot = scenario.snapshot()
    found = plan(snapshot)
    assert violations(snapshot, found) == []
    places, bought = targets(found)
    await _create(client, scenario, bought)
    waiting = [pod for pod in scenario.waiting if pod["metadata"]["name"] in places]
    refused = await _place(client, waiting, places)
    assert not refused, json.dumps(refused, indent=1)


async def _create(client: KubeClient, scenario: Scenario, bought: list[Manifest]) -> None:
    for name, labels in scenario.namespaces.items():
        await client.create(NAMESPACES, {"metadata": {"name": name, "labels": dict(labels)}})
        await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": name}})
    for node in (*scenario.nodes, *bought):
        await client.create(NODES, node)
        taints = {"spec": {"taints": node["spec"]["taints"]}}  # without the one that admission adds
        await client.merge_patch(NODES, node["metadata"]["name"], taints)
    for each in scenario.selecting:
        await client.create(resource_of(each), each, each["metadata"]["namespace"])
    for pod in scenario.running:
        await client.create(PODS, pod, pod["metadata"]["namespace"])


async def _place(client: KubeClient, pods: list[Manifest], places: dict[str, str]) -> list[Manifest]:
    """What the scheduler does not accept in any of some orders: pod, node, and what became of it instead."""
    chance = random.Random(len(pods))  # noqa: S311 -- an order of pods, not a secret
    first, others = list[Manifest](), pods
    for _ in range(ORDERS):
        refused = await _place_in_order(client, first, others, places)
        if not refused:
            return []
        kinds = [each["pod"]["spec"] for each in refused]
        for pod in pods:
            await _delete(client, PODS, pod)
        first = [pod for pod in pods if pod["spec"] in kinds or pod in first]
        others = [pod for pod in pods if pod not in first]
        chance.shuffle(others)
    return refused


async def _place_in_order(
    client: KubeClient, first: list[Manifest], others: list[Manifest], places: dict[str, str]
) -> list[Manifest]:
    """:param first: tried again whenever another was accepted"""
    waiting = [*first, *others]
    while waiting:
        accepted, refused = list[Manifest](), list[Manifest]()
        for pod in waiting:
            node = places[pod["metadata"]["name"]]
            if why := await _attempt(client, pod, node):
                refused.append({"pod": pod, "node": node, "instead": why})
                continue
            accepted.append(pod)
            if any(each["pod"] in first for each in refused):
                break
        if not accepted:
            return refused
        waiting = [pod for pod in waiting if pod not in accepted]
    return []


async def _attempt(client: KubeClient, pod: Manifest, node: str) -> str:
    """Why the scheduler did not put a pod onto a node, "" if it did; then it is not there."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    gated = {**pod, "spec": {**pod["spec"], "schedulingGates": [GATE]}}
    await client.create(PODS, gated, namespace)
    nominated = {"status": {"nominatedNodeName": node}}
    await client.merge_patch(PODS, name, nominated, namespace, subresource="status")
    await client.merge_patch(PODS, name, {"spec": {"schedulingGates": []}}, namespace)
    outcome = await _outcome(client, name, namespace)
    if outcome == node:
        return ""
    await _delete(client, PODS, pod)
    return outcome


async def _outcome(client: KubeClient, name: str, namespace: str) -> str:
    """The node that it was bound to, or what keeps it from all."""
    async with asyncio.timeout(20):
        while True:
            pod = await client.get(PODS, name, namespace)
            if bound := pod["spec"].get("nodeName"):
                return str(bound)
            for condition in pod["status"].get("conditions") or ():
                if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
                    return str(condition["message"])
            await asyncio.sleep(0.01)


async def _delete(client: KubeClient, resource: Resource, body: Manifest) -> None:
    metadata = body["metadata"]
    with contextlib.suppress(NotFoundError):
        await client.delete(resource, metadata["name"], metadata.get("namespace"), grace_period=0)
