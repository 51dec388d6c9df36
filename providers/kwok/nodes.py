"""The Node object of a simulated machine, as its kubelet would have registered it, and what its DRA drivers publish."""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from autonodes.core import labels
from autonodes.core.devices import Attribute, Device
from autonodes.core.quantities import format_resources
from autonodes.provider import LaunchRequest, Machine

FAKE_ANNOTATION: Final = "kwok.x-k8s.io/node"
"""kwok manages the nodes that carry it with the value ``fake``, and only those."""

_ADDRESSES: Final = ipaddress.ip_network("198.18.0.0/15")
"""For benchmarks of network devices (RFC 2544): no real machine has such an address, so nothing is reached by
mistake."""


def node(request: LaunchRequest, machine: Machine) -> dict[str, Any]:
    """Not ready, with all of its labels and taints; kwok makes it ready."""
    name = machine.claim_name
    return {
        "metadata": {
            "name": name,
            "labels": {
                **request.labels,
                **machine.labels,
                labels.HOSTNAME: name,
                labels.CLAIM_UID: machine.claim_uid,
            },
            "annotations": {FAKE_ANNOTATION: "fake"},
        },
        "spec": {
            "providerID": machine.provider_id,
            "taints": [{"key": taint.key, "value": taint.value, "effect": taint.effect} for taint in request.taints],
        },
        "status": {
            "capacity": format_resources(machine.capacity),
            "allocatable": format_resources(machine.allocatable),
            "addresses": [
                {"type": "Hostname", "address": name},
                {"type": "InternalIP", "address": _address(machine.claim_uid)},
            ],
        },
    }


_MOST_DEVICES: Final = 128
"""In one ResourceSlice."""


def devices(listed: Sequence[Device]) -> dict[str, list[dict[str, Any]]]:
    """The devices of a machine by their driver, as its ResourceSlices have them."""
    by_driver: dict[str, list[dict[str, Any]]] = {}
    for each in listed:
        mine = by_driver.setdefault(each.driver, [])
        attributes = {name: _attribute(attribute) for name, attribute in each.attributes.items()}
        capacity = {name: {"value": value} for name, value in each.capacity.items()}
        mine.append({"name": f"device-{len(mine)}", "attributes": attributes, "capacity": capacity})
    return by_driver


def resource_slices(by_driver: Mapping[str, Sequence[Mapping[str, Any]]], owner: Mapping[str, Any]) -> list[Any]:
    """:param owner: the Node, with which they go"""
    name, uid = owner["metadata"]["name"], owner["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}
    found = []
    for driver, listed in by_driver.items():
        parts = [listed[start : start + _MOST_DEVICES] for start in range(0, len(listed), _MOST_DEVICES)]
        pool = {"name": name, "generation": 1, "resourceSliceCount": len(parts)}
        found += [
            {
                "metadata": {"name": f"{name}-{driver}-{number}", "ownerReferences": [reference]},
                "spec": {"driver": driver, "nodeName": name, "pool": pool, "devices": part},
            }
            for number, part in enumerate(parts)
        ]
    return found


def _attribute(attribute: Attribute) -> dict[str, Any]:
    value = attribute.value
    if attribute.version:
        return {"version": value}
    return {"bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "string": value}


def _address(claim_uid: str) -> str:
    """Always the same for a machine; two machines may share one, which nothing notices."""
    return str(_ADDRESSES[1 + zlib.crc32(claim_uid.encode()) % (_ADDRESSES.num_addresses - 2)])
