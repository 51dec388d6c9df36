"""The provider's contract, on a real API server; no kwok is needed for it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from autonodes.core.errors import EnvironmentFault
from autonodes.core.model import Taint
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import CONFIGMAPS, NODES
from autonodes.provider import (
    CreateError,
    InsufficientCapacityError,
    LaunchRequest,
    Machine,
    MachineNotFoundError,
    ProviderContext,
    ProviderID,
)
from providers.kwok import KwokProvider
from providers.kwok.records import Records

Order = Callable[..., LaunchRequest]


async def gone(provider: KwokProvider, machine: Machine) -> None:
    """Delete it as the controller does: until the provider says that nothing is left."""
    await provider.delete(machine.provider_id)
    with pytest.raises(MachineNotFoundError):
        await provider.delete(machine.provider_id)


@pytest.mark.integration
async def test_a_machine_is_a_node_with_all_that_was_asked_for(
    provider: KwokProvider, kube: KubeClient, order: Order
) -> None:
    request = order(taints=(Taint("karpenter.sh/unregistered", "", "NoExecute"), Taint("a", "b", "NoSchedule")))
    machine = await provider.create(request)
    node = await kube.get(NODES, request.claim_name)
    assert node["spec"]["providerID"] == machine.provider_id
    assert {"team": "a", "node.kubernetes.io/instance-type": "s-4x-amd64-linux"}.items() <= node["metadata"][
        "labels"
    ].items()
    assert {(taint["key"], taint.get("value", ""), taint["effect"]) for taint in node["spec"]["taints"]} >= {
        ("karpenter.sh/unregistered", "", "NoExecute"),
        ("a", "b", "NoSchedule"),
    }
    assert node["status"]["capacity"] == {"cpu": "4", "memory": "16Gi", "pods": "64", "ephemeral-storage": "20Gi"}
    assert node["status"]["allocatable"]["cpu"] == "3900m"


@pytest.mark.integration
async def test_the_first_candidate_is_bought_and_listed(provider: KwokProvider, order: Order) -> None:
    request = order()
    machine = await provider.create(request)
    wanted, offering = request.candidates[0]
    assert (machine.instance_type, machine.zone, machine.capacity_type) == (
        wanted.name,
        offering.zone,
        offering.capacity_type,
    )
    assert machine.capacity == wanted.capacity
    assert machine.created_at > 1.7e9
    assert await provider.list() == [machine]
    assert await provider.get(machine.provider_id) == machine


@pytest.mark.integration
async def test_creating_twice_gives_the_same_machine_even_at_once_and_with_other_candidates(
    provider: KwokProvider, order: Order
) -> None:
    request = order()
    other = dataclasses.replace(request, candidates=tuple(reversed(request.candidates)))
    machines = await asyncio.gather(*(provider.create(each) for each in (request, other, request, other)))
    assert len(set(map(repr, machines))) == 1
    assert len(await provider.list()) == 1


@pytest.mark.integration
async def test_a_launch_that_stopped_after_the_record_is_finished_by_the_next_call(
    provider: KwokProvider, kube: KubeClient, order: Order
) -> None:
    request = order()
    machine = await provider.create(request)
    await kube.delete(NODES, request.claim_name)
    assert await provider.create(request) == machine
    assert (await kube.get(NODES, request.claim_name))["spec"]["providerID"] == machine.provider_id


@pytest.mark.integration
async def test_a_record_without_a_node_is_listed_and_can_be_deleted(
    provider: KwokProvider, kube: KubeClient, order: Order
) -> None:
    machine = await provider.create(order())
    await kube.delete(NODES, machine.claim_name)
    assert await provider.list() == [machine]
    await gone(provider, machine)
    assert await provider.list() == []


@pytest.mark.integration
async def test_deleting_takes_node_and_record_and_can_be_repeated(
    provider: KwokProvider, kube: KubeClient, order: Order
) -> None:
    machine = await provider.create(order())
    await gone(provider, machine)
    with pytest.raises(NotFoundError):
        await kube.get(NODES, machine.claim_name)
    with pytest.raises(MachineNotFoundError):
        await provider.get(machine.provider_id)
    with pytest.raises(MachineNotFoundError):
        await provider.delete(machine.provider_id)


@pytest.mark.integration
async def test_a_finalizer_on_the_node_does_not_keep_the_machine(
    provider: KwokProvider, kube: KubeClient, order: Order
) -> None:
    machine = await provider.create(order())
    held = {"metadata": {"finalizers": ["karpenter.sh/termination"]}}
    await kube.merge_patch(NODES, machine.claim_name, held)
    await gone(provider, machine)
    assert (await kube.get(NODES, machine.claim_name))["metadata"]["deletionTimestamp"]
    await kube.merge_patch(NODES, machine.claim_name, {"metadata": {"finalizers": None}})
    with pytest.raises(NotFoundError):
        await kube.get(NODES, machine.claim_name)


@pytest.mark.integration
async def test_a_machine_on_its_way_out_is_not_started_again(
    provider: KwokProvider, kube: KubeClient, order: Order
) -> None:
    request = order()
    machine = await provider.create(request)
    await Records(kube, machine.provider_id.split("/")[2]).mark_terminating(machine.claim_uid)
    await kube.delete(NODES, machine.claim_name)
    assert (await provider.create(request)).state == "terminating"
    with pytest.raises(NotFoundError):
        await kube.get(NODES, machine.claim_name)
    await gone(provider, machine)


@pytest.mark.integration
async def test_a_node_of_another_claim_is_neither_taken_over_nor_deleted(
    provider: KwokProvider, kube: KubeClient, order: Order
) -> None:
    request = order()
    await kube.create(NODES, {"metadata": {"name": request.claim_name}})
    with pytest.raises(CreateError, match="of another claim"):
        await provider.create(request)
    assert await provider.list() == []
    await kube.delete(NODES, request.claim_name)

    machine = await provider.create(request)
    await kube.delete(NODES, request.claim_name)
    await kube.create(NODES, {"metadata": {"name": request.claim_name}})
    await gone(provider, machine)
    await kube.delete(NODES, request.claim_name)


@pytest.mark.integration
async def test_what_is_sold_out_is_not_bought(provider: KwokProvider, order: Order) -> None:
    cheapest = order().candidates[0][1]
    node_class = {"spec": {"soldOut": [{"zone": cheapest.zone}]}}
    assert (await provider.create(order(node_class=node_class))).zone != cheapest.zone
    with pytest.raises(InsufficientCapacityError, match="s-4x-amd64-linux"):
        await provider.create(order(node_class={"spec": {"soldOut": [{}]}}))
    assert len(await provider.list()) == 1


@pytest.mark.integration
async def test_machines_of_another_cluster_are_strangers(
    provider: KwokProvider, kube: KubeClient, order: Order
) -> None:
    machine = await provider.create(order())
    with pytest.raises(MachineNotFoundError):
        await provider.get(ProviderID(f"kwok://other/{machine.claim_uid}"))
    with pytest.raises(MachineNotFoundError):
        await provider.delete(ProviderID(f"local://{machine.provider_id.split('/')[2]}/{machine.claim_uid}"))
    assert await Records(kube, "other").list() == []
    assert await provider.list() == [machine]


@pytest.mark.integration
async def test_a_machine_drifts_when_its_offering_goes_but_not_when_it_is_sold_out(
    provider: KwokProvider, order: Order
) -> None:
    machine = await provider.create(order())
    assert await provider.is_drifted(machine, {"spec": {}}) is None
    assert await provider.is_drifted(machine, {"spec": {"soldOut": [{}]}}) is None
    assert await provider.is_drifted(machine, {"spec": {"zones": ["other"]}}) == "OfferingNotFound"
    only = [{"name": "a", "cpu": 1, "memory": "1Gi", "price": 1}]
    assert await provider.is_drifted(machine, {"spec": {"instanceTypes": only}}) == "InstanceTypeNotFound"


@pytest.mark.integration
async def test_nothing_secret_is_recorded(provider: KwokProvider, kube: KubeClient, order: Order) -> None:
    await provider.create(order())
    (record,) = [
        body
        for body in await kube.list(CONFIGMAPS, "kube-system", label_selector="autonodes.io/kwok-machine")
        if body["metadata"]["name"].startswith("autonodes-kwok-")
    ]
    assert record["data"].keys() == {
        *("claim", "nodePool", "instanceType", "zone", "capacityType", "capacity", "allocatable", "labels"),
        "devices",
    }


async def test_without_kwok_among_the_components_it_does_not_start(tmp_path: Path) -> None:
    context = ProviderContext(
        cluster="c", state_dir=tmp_path, component_dirs=(tmp_path,), images=(), uplink="", kube=None
    )  # type: ignore[arg-type]
    with pytest.raises(EnvironmentFault, match="autonodes components"):
        await KwokProvider(context).start()
