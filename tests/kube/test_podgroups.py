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


@pytest.mark.parametrize(
    ("reason", "group", "waits"),
    [
        ("Unschedulable", None, True),
        ("Unschedulable", "train", True),
        ("SchedulerError", None, False),
        ("SchedulerError", "train", True),
        ("SchedulingGated", "train", False),
    ],
)
def test_a_pod_of_a_group_waits_for_a_node_also_when_the_scheduler_fails_on_it(
    reason: str, group: str | None, waits: bool
) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason}
    spec = {"containers": [], **({"schedulingGroup": {"podGroupName": group}} if group else {})}
    body = {"metadata": {"name": "a", "namespace": "shop"}, "spec": spec, "status": {"conditions": [condition]}}
    assert decode_pod(json.dumps(body).encode()).unschedulable is waits
