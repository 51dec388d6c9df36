"""Gangs by Kubernetes' own PodGroups (KEP-4671), on a real API server and scheduler with the gates on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from autonodes.core.labels import ZONE
from autonodes.kube.resources import PODGROUPS, PODS
from controllers.stage import Stage
from controllers.test_program import until_running
from controlplane import RunningControlPlane, control_plane

pytestmark = pytest.mark.integration

GATES = "--feature-gates=GenericWorkload=true,TopologyAwareWorkloadScheduling=true"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    flags = {
        "kube-apiserver": (GATES, "--runtime-config=scheduling.k8s.io/v1beta1=true"),
        "kube-scheduler": (GATES,),
    }
    with control_plane(tmp_path_factory.mktemp("gangs"), with_scheduler=True, flags=flags) as running:
        running.install_kinds()
        yield running


async def gang(stage: Stage, name: str, count: int, topology: str = "") -> list[str]:
    """Pods that need a machine each, and all of them or none.

    :param topology: the label of which all must see one value
    """
    spec: dict[str, Any] = {"schedulingPolicy": {"gang": {"minCount": count}}}
    if topology:
        spec["schedulingConstraints"] = {"topology": [{"key": topology}]}
    await stage.admin.create(PODGROUPS, {"metadata": {"name": name}, "spec": spec}, stage.namespace)
    names = [f"{name}-{number}" for number in range(count)]
    group = {"podGroupName": name}
    await asyncio.gather(*(stage.pod(each, cpu="1500m", schedulingGroup=group) for each in names))
    return names


async def test_a_pod_group_is_bought_whole(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        await until_running(stage, *await gang(stage, "train", 3))
        assert len(await stage.claims()) == len(stage.cloud.records())


async def test_nothing_is_left_of_a_pod_group_that_can_not_be_whole_and_none_of_its_pods_runs(stage: Stage) -> None:
    stage.cloud.stock = {(size.name, zone): 0 for size in stage.cloud.sizes for zone in ("a", "b")}
    stage.cloud.stock["small", "a"] = 2
    await stage.node_class()
    await stage.pool(disruption={"consolidateAfter": "Never"})
    async with stage.controller():
        names = await gang(stage, "train", 3)
        await stage.until("something was bought", lambda: stage.cloud.purchases)
        await stage.until("nothing is left", stage.is_empty)
        for name in names:
            assert not (await stage.admin.get(PODS, name, stage.namespace))["spec"].get("nodeName")


async def test_nothing_is_bought_for_a_pod_group_that_is_not_complete(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        body = {"metadata": {"name": "half"}, "spec": {"schedulingPolicy": {"gang": {"minCount": 3}}}}
        await stage.admin.create(PODGROUPS, body, stage.namespace)
        await stage.pod("half-0", cpu="1500m", schedulingGroup={"podGroupName": "half"})
        await stage.pod("alone", cpu="1500m")
        await until_running(stage, "alone")
        assert (await stage.phase("half-0"), len(stage.cloud.purchases)) == ("Pending", 1)


async def small_ones(stage: Stage, **stock: int) -> None:
    """A pool that can buy nothing else: so many small machines in each zone."""
    stage.cloud.stock = {(size.name, zone): 0 for size in stage.cloud.sizes for zone in stock}
    stage.cloud.stock |= {("small", zone): count for zone, count in stock.items()}
    await stage.node_class()
    await stage.pool(disruption={"consolidateAfter": "Never"})


async def test_a_pod_group_that_must_be_in_one_zone_runs_in_the_one_that_has_room_for_all_of_it(stage: Stage) -> None:
    await small_ones(stage, a=2, b=3)
    async with stage.controller():
        names = await gang(stage, "train", 3, ZONE)
        await until_running(stage, *names)
        zones = {node["metadata"]["name"]: node["metadata"]["labels"][ZONE] for node in await stage.nodes()}
        pods = [await stage.admin.get(PODS, name, stage.namespace) for name in names]
        assert {zones[pod["spec"]["nodeName"]] for pod in pods} == {"b"}


async def test_nothing_is_left_of_a_pod_group_for_which_no_single_zone_has_room(stage: Stage) -> None:
    await small_ones(stage, a=2, b=2)
    async with stage.controller():
        names = await gang(stage, "train", 3, ZONE)
        await stage.until("something was bought", lambda: stage.cloud.purchases)
        await stage.until("nothing is left", stage.is_empty)
        assert [await stage.phase(name) for name in names] == ["Pending"] * 3
