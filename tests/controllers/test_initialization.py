from __future__ import annotations

from typing import Any

import pytest

from autonodes.controllers.initialization import lacking
from autonodes.core.model import Node, Taint
from controllers.claimbook import claim

ONE_GPU = {"requests": {"nvidia.com/gpu": "1"}}
EIGHT_GPUS = {"requests": {"nvidia.com/gpu": "8"}}
STARTUP = {"key": "cni", "value": "starting", "effect": "NoSchedule"}


def reason(node: dict[str, Any], **spec: Any) -> str | None:
    missing = lacking(claim("Registered", **spec), Node(**{"name": "default-abcde", "ready": True, **node}))
    return None if missing is None else missing[0]


@pytest.mark.parametrize(
    ("node", "spec", "expected"),
    [
        ({}, {}, None),
        ({"ready": False}, {}, "NodeNotReady"),
        ({"taints": (Taint("cni", "starting"),)}, {"startupTaints": [STARTUP]}, "StartupTaintsExist"),
        ({"taints": (Taint("cni", "another"),)}, {"startupTaints": [STARTUP]}, "StartupTaintsExist"),
        ({"taints": (Taint("team", "a"),)}, {"startupTaints": [STARTUP]}, None),
        ({"taints": (Taint("node.kubernetes.io/not-ready"),)}, {}, "KnownEphemeralTaintsExist"),
        ({"taints": (Taint("karpenter.sh/disrupted"),)}, {}, None),
        ({}, {"resources": ONE_GPU}, "ResourceNotRegistered"),
        ({"allocatable": {"nvidia.com/gpu": 0}}, {"resources": ONE_GPU}, "ResourceNotRegistered"),
        ({"allocatable": {"nvidia.com/gpu": 1}}, {"resources": ONE_GPU}, None),
        ({"allocatable": {"nvidia.com/gpu": 7}}, {"resources": EIGHT_GPUS}, "ResourceNotRegistered"),
        ({"allocatable": {"nvidia.com/gpu": 8}}, {"resources": EIGHT_GPUS}, None),
        ({"allocatable": {"cpu": 990}}, {"resources": {"requests": {"cpu": "1"}}}, None),
        ({}, {"resources": {"requests": {"nvidia.com/gpu": "0"}}}, None),
    ],
)  # fmt: skip
def test_a_node_counts_when_nothing_of_it_is_missing(
    node: dict[str, Any], spec: dict[str, Any], expected: str | None
) -> None:
    assert reason(node, **spec) == expected
