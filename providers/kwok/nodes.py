"""The Node object of a simulated machine, as its kubelet would have registered it."""

from __future__ import annotations

import ipaddress
import zlib
from typing import Any, Final

from autonodes.core import labels
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


def _address(claim_uid: str) -> str:
    """Always the same for a machine; two machines may share one, which nothing notices."""
    return str(_ADDRESSES[1 + zlib.crc32(claim_uid.encode()) % (_ADDRESSES.num_addresses - 2)])
