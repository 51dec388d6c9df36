"""PodGroups and their pods from the API to the model, and the cache that runs while one of the pods waits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autonodes.core.model import PodGroup
from autonodes.kube.decoding import decode_pod
from autonodes.kube.podgroups import decode_podgroup

ZONE = "topology.kubernetes.io/zone"


def raw(**spec: Any) -> bytes:
    return json.dumps({"metadata": {"name": "train", "namespace": "shop"}, "spec": spec}).encode()


@pytest.mark.parametrize(
    ("spec", "minimum", "topology"),
    [
        ({"schedulingPolicy": {"gang": {"minCount": 8}}}, 8, ""),
        ({"schedulingPolicy": {"basic": {}}}, 0, ""),
        (
            {"schedulingPolicy": {"gang": {"minCount": 2}}, "schedulingConstraints": {"topology": [{"key": ZONE}]}},
            2,
            ZONE,
        ),
    ],
)
def test_a_group_has_a_minimum_and_a_topology(spec: dict[str, Any], minimum: int, topology: str) -> None:
    expected = PodGroup(namespace="shop", name="train", min_count=minimum, topology_key=topology)
    assert decode_podgroup(raw(**spec)) == expected


def test_a_pod_names_its_group() -> None:
    assert decode_pod(raw(containers=[], schedulingGroup={"podGroupName": "train"})).group == "train"
    assert decode_pod(raw(containers=[])).group == ""
