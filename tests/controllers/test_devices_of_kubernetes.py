"""Pods that claim devices (``resource.k8s.io/v1``), on a real API server with scheduler and controller manager.

The driver is played here: it publishes the devices of a machine some time after its node has come.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from autonodes.core.devices import Device
from autonodes.core.model import InstanceType
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import AlreadyExistsError
from autonodes.kube.resources import (
    CLAIMTEMPLATES,
    DEVICECLASSES,
    NODES,
    PODS,
    RESOURCECLAIMS,
    RESOURCESLICES,
)
from autonodes.verify.cloud import SIZES, size
from controllers.stage import Stage
from controllers.test_program import until_running
from controlplane import RunningControlPlane, control_plane
from providers.kwok.nodes import devices, resource_slices

pytestmark = pytest.mark.integration

DRIVER = "gpu.example.com"


def with_gpus(name: str, count: int, gib: int, *, price: float) -> InstanceType:
    return replace(
        size(name, 8, price=price), devices=(Device(driver=DRIVER, capacity={"memory": f"{gib}Gi"}),) * count
    )


SOLD = (
    *SIZES,
    with_gpus("one", 1, 16, price=1.0),
    with_gpus("two", 2, 16, price=1.8),
    with_gpus("big", 1, 80, price=5),
)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    """The controller manager makes claims from templates; nobody renews nodes' leases here, so it must not ask."""
    flags = {"kube-controller-manager": ("--controllers=-node-lifecycle-controller,-serviceaccount-controller",)}
    directory = tmp_path_factory.mktemp("devices")
    with control_plane(directory, controller_manager=True, with_scheduler=True, flags=flags) as running:
        running.install_kinds()
        yield running


@pytest.fixture
async def driver(stage: Stage) -> AsyncIterator[None]:
    """Publishes what a machine has when its node is there."""
    stage.cloud.sizes = SOLD
    by_type = {each.name: devices(each.devices) for each in SOLD}

    async def publish() -> None:
        while True:
            machines = {record["node_name"]: record["instance_type"] for record in stage.cloud.records()}
            for node in await stage.nodes():
                for body in resource_slices(by_type[machines.get(node["metadata"]["name"], "small")], node):
                    with contextlib.suppress(AlreadyExistsError):
                        await stage.admin.create(RESOURCESLICES, body)
            await asyncio.sleep(0.2)

    task = asyncio.create_task(publish())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for body in await stage.admin.list(RESOURCESLICES):
        await stage.admin.delete(RESOURCESLICES, body["metadata"]["name"])


@pytest.fixture
async def template(admin: KubeClient, namespace: str) -> str:
    """Of a claim for one GPU of any size, of a class of its own."""
    selector = {"cel": {"expression": f"device.driver == '{DRIVER}'"}}
    await admin.create(DEVICECLASSES, {"metadata": {"name": namespace}, "spec": {"selectors": [selector]}})
    await _template(admin, namespace, "gpu")
    return "gpu"


async def _template(admin: KubeClient, namespace: str, name: str, *selectors: str) -> None:
    chosen = [{"cel": {"expression": each}} for each in selectors]
    asked = {"name": "gpu", "exactly": {"deviceClassName": namespace, "selectors": chosen}}
    body = {"metadata": {"name": name}, "spec": {"spec": {"devices": {"requests": [asked]}}}}
    await admin.create(CLAIMTEMPLATES, body, namespace)


async def claiming(stage: Stage, name: str, template: str) -> None:
    await stage.pod(name, resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": template}])


def bought(stage: Stage) -> list[str]:
    return sorted(record["instance_type"] for record in stage.cloud.records())


@pytest.mark.usefixtures("driver")
async def test_machines_are_bought_with_the_devices_that_pods_claim_and_the_scheduler_deals_them_out(
    stage: Stage, template: str
) -> None:
    await stage.node_class()
    await stage.pool(disruption={"consolidateAfter": "Never"})
    large = f"device.capacity['{DRIVER}'].memory.compareTo(quantity('40Gi')) >= 0"
    await _template(stage.admin, stage.namespace, "large", large)
    async with stage.controller():
        for number in range(2):
            await claiming(stage, f"train-{number}", template)
        await claiming(stage, "huge", "large")
        await until_running(stage, "train-0", "train-1", "huge")
        assert bought(stage) == ["big", "two"]
        types = {record["node_name"]: record["instance_type"] for record in stage.cloud.records()}
        for pod, kind in {"train-0": "two", "train-1": "two", "huge": "big"}.items():
            body = await stage.admin.get(PODS, pod, stage.namespace)
            assert types[body["spec"]["nodeName"]] == kind
        claims = await stage.admin.list(RESOURCECLAIMS, stage.namespace)
        given = [claim["status"]["allocation"]["devices"]["results"][0] for claim in claims]
        assert len({(each["pool"], each["device"]) for each in given}) == 3


@pytest.mark.usefixtures("driver")
async def test_nothing_is_bought_for_a_device_that_no_machine_has_and_the_pod_says_so(
    stage: Stage, template: str
) -> None:
    await stage.node_class()
    await stage.pool()
    await _template(stage.admin, stage.namespace, "odd", f"device.attributes['{DRIVER}'].model == 'Z1'")
    async with stage.controller():
        await claiming(stage, "odd", "odd")
        await claiming(stage, "fine", template)
        await until_running(stage, "fine")

        async def told() -> bool:
            return any("no free device of a node" in text for text in await stage.messages("odd"))

        await stage.until("the pod is told", told)
        assert bought(stage) == ["one"]
        assert (await stage.phase("odd"), len(await stage.admin.list(NODES))) == ("Pending", 1)
