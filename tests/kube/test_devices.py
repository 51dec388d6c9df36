"""Device claims, classes and slices from the API to the model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autonodes.core.devices import Attribute, DeviceClass, DeviceRequest
from autonodes.core.requirements import FIELD_NAME
from autonodes.kube.decoding import decode_pod
from autonodes.kube.devices import decode_device_class, decode_resource_claim, decode_resource_slice
from core.parts import requirements


def raw(**rest: Any) -> bytes:
    return json.dumps({"metadata": {"name": "x", "namespace": "shop"}, **rest}).encode()


def claim(*requests: dict[str, Any], **rest: Any) -> bytes:
    return raw(spec={"devices": {"requests": [{"name": "gpu", **each} for each in requests], **rest}})


def test_a_claim_says_what_it_asks_for() -> None:
    selector = {"cel": {"expression": 'device.driver == "a"'}}
    exactly = {"deviceClassName": "gpu", "selectors": [selector], "allocationMode": "ExactCount", "count": 2}
    read = decode_resource_claim(claim({"exactly": exactly}))
    wanted = DeviceRequest(name="gpu", device_class="gpu", selectors=('device.driver == "a"',), count=2)
    assert (read.key, read.requests, read.allocated, read.fault) == ("shop/x", (wanted,), False, "")


def test_an_allocated_claim_says_which_devices_it_has_and_where() -> None:
    field = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    allocation = {
        "devices": {
            "results": [
                {"request": "gpu", "driver": "d", "pool": "n1", "device": "gpu-0"},
                {"request": "see", "driver": "d", "pool": "n1", "device": "gpu-1", "adminAccess": True},
            ]
        },
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]},
    }
    read = decode_resource_claim(raw(spec={"devices": {}}, status={"allocation": allocation}))
    assert read.allocated
    assert read.devices == (("d", "n1", "gpu-0"),)
    assert read.node_terms == (requirements(f"{FIELD_NAME} In n1"),)


@pytest.mark.parametrize(
    ("raw_claim", "named"),
    [
        (claim({"firstAvailable": [{"name": "a", "deviceClassName": "gpu"}]}), "requests[0].firstAvailable"),
        (claim({"exactly": {"deviceClassName": "gpu", "allocationMode": "All"}}), "requests[0].exactly.allocationMode"),
        (claim({"exactly": {"deviceClassName": "gpu", "adminAccess": True}}), "requests[0].exactly.adminAccess"),
        (claim({"exactly": {"deviceClassName": "gpu", "capacity": {"requests": {}}}}), "requests[0].exactly"),
        (claim(constraints=[{"matchAttribute": "d/numa"}]), "spec.devices.constraints"),
    ],
)
def test_what_is_not_planned_for_is_named(raw_claim: bytes, named: str) -> None:
    assert named in decode_resource_claim(raw_claim).fault


def test_a_class_has_its_selectors() -> None:
    read = decode_device_class(raw(spec={"selectors": [{"cel": {"expression": "true"}}]}))
    assert read == DeviceClass(name="x", selectors=("true",))


def test_a_slice_has_the_devices_of_a_node() -> None:
    device = {
        "name": "gpu-0",
        "attributes": {
            "model": {"string": "H100"},
            "index": {"int": 0},
            "nvlink": {"bool": False},
            "driverVersion": {"version": "550.1.0"},
            "links": {"strings": ["a", "b"]},
        },
        "capacity": {"memory": {"value": "80Gi"}},
    }
    spec = {"driver": "d", "nodeName": "n1", "pool": {"name": "n1", "generation": 3}, "devices": [device]}
    read = decode_resource_slice(raw(spec=spec))
    assert (read.node_name, read.pool, read.generation) == ("n1", "n1", 3)
    assert read.devices[0].key == ("d", "n1", "gpu-0")
    assert read.devices[0].capacity == {"memory": "80Gi"}
    assert read.devices[0].attributes == {
        "model": Attribute("H100"),
        "index": Attribute(0),
        "nvlink": Attribute(False),
        "driverVersion": Attribute("550.1.0", version=True),
        "links": Attribute(("a", "b")),
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"consumesCounters": [{"counterSet": "gpu-0", "counters": {}}]},
        {"allowMultipleAllocations": True},
        {"taints": [{"key": "broken", "effect": "NoSchedule"}]},
        {"bindingConditions": ["attached"]},
    ],
)
def test_devices_that_can_not_simply_be_given_away_are_marked(fields: dict[str, Any]) -> None:
    spec = {"driver": "d", "nodeName": "n1", "pool": {"name": "n1"}, "devices": [{"name": "a", **fields}]}
    assert decode_resource_slice(raw(spec=spec)).devices[0].unsupported


def test_a_pod_names_its_claims_and_those_that_are_still_to_be_made() -> None:
    claims = [
        {"name": "a", "resourceClaimName": "mine"},
        {"name": "b", "resourceClaimTemplateName": "each"},
        {"name": "c", "resourceClaimTemplateName": "later"},
        {"name": "d", "resourceClaimTemplateName": "none-needed"},
    ]
    statuses = [{"name": "b", "resourceClaimName": "x-b-7h2kq"}, {"name": "d"}]
    read = decode_pod(
        raw(spec={"containers": [], "resourceClaims": claims}, status={"resourceClaimStatuses": statuses})
    )
    assert read.resource_claims == ("mine", "x-b-7h2kq", "later*")
