"""What simulated nodes publish for dynamic resource allocation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autonodes.kube.client import KubeClient
from autonodes.kube.devices import decode_resource_slice
from autonodes.kube.resources import NODES, RESOURCESLICES
from autonodes.provider import LaunchRequest, NodeClassNotReadyError
from providers.kwok import KwokProvider, catalogue
from providers.kwok.nodes import devices, resource_slices

DECLARED: dict[str, Any] = {
    "driver": "gpu.example.com",
    "count": 3,
    "attributes": {"model": {"string": "A100"}, "numa": {"int": 1}, "ecc": {"bool": True}, "lib": {"version": "1.2.3"}},
    "capacity": {"memory": {"value": "40Gi"}},
}


def node_class(**changes: Any) -> dict[str, Any]:
    kind = {"name": "gpu", "cpu": 8, "memory": "32Gi", "price": 1.0, "draDevices": [{**DECLARED, **changes}]}
    return {"metadata": {"name": "default"}, "spec": {"instanceTypes": [kind]}}


def test_a_node_publishes_just_what_its_type_declares() -> None:
    (sold,) = catalogue.instance_types(node_class())
    owner = {"metadata": {"name": "n1", "uid": "u1"}}
    (body,) = resource_slices(devices(sold.devices), owner)
    read = decode_resource_slice(json.dumps(body).encode())
    assert [replace(each, pool="", name="") for each in read.devices] == list(sold.devices)
    assert len({each.key for each in read.devices}) == 3
    assert (read.node_name, body["metadata"]["ownerReferences"][0]["uid"]) == ("n1", "u1")


def test_many_devices_are_published_in_several_slices_of_one_pool() -> None:
    (sold,) = catalogue.instance_types(node_class(count=100))
    bodies = resource_slices(devices(sold.devices * 2), {"metadata": {"name": "n1", "uid": "u1"}})
    assert [len(body["spec"]["devices"]) for body in bodies] == [128, 72]
    assert {body["spec"]["pool"]["resourceSliceCount"] for body in bodies} == {2}


def test_an_attribute_without_a_value_or_with_two_is_refused() -> None:
    for wrong in ({}, {"int": 1, "string": "one"}):
        with pytest.raises(NodeClassNotReadyError, match="draDevices"):
            catalogue.instance_types(node_class(attributes={"model": wrong}))


@pytest.mark.integration
async def test_a_machine_with_devices_is_a_node_and_its_slices_however_often_it_is_asked_for(
    provider: KwokProvider, kube: KubeClient, order: Callable[..., LaunchRequest]
) -> None:
    given = node_class()
    (sold,) = catalogue.instance_types(given)
    request = order(((sold, sold.offerings[0]),), node_class=given)
    await provider.create(request)
    await provider.create(request)
    slices = [each for each in await kube.list(RESOURCESLICES) if each["spec"]["nodeName"] == request.claim_name]
    (node,) = [each for each in await kube.list(NODES) if each["metadata"]["name"] == request.claim_name]
    assert [len(each["spec"]["devices"]) for each in slices] == [3]
    assert slices[0]["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]
