from __future__ import annotations

from typing import Any

import pytest

from autonodes.core.displacement import with_displaced
from autonodes.core.model import Claim, Node, Pod, PodUID, Snapshot
from autonodes.core.requirements import Requirements

NOW = 1000.0


def snapshot(pod: Pod, *, deleted_at: float | None) -> Snapshot:
    claim = Claim(name="n", uid="n", pool="default", requirements=Requirements(), deleted_at=deleted_at)
    return Snapshot(now=NOW, pods=(pod,), nodes=(Node(name="n"),), claims=(claim,), pools=(), instance_types={})


def pod(**fields: Any) -> Pod:
    given = {"owner_kind": "ReplicaSet", "node_name": "n", "phase": "Running", **fields}
    return Pod(uid=PodUID("web"), namespace="default", name="web", requests={}, **given)


def test_a_pod_on_a_node_that_leaves_waits_for_a_place() -> None:
    (seen,) = with_displaced(snapshot(pod(), deleted_at=NOW)).pods
    assert (seen.node_name, seen.unschedulable) == ("", True)


def test_nothing_changes_where_no_node_leaves() -> None:
    before = snapshot(pod(), deleted_at=None)
    assert with_displaced(before) is before


@pytest.mark.parametrize(
    "fields",
    [{"owner_kind": ""}, {"owner_kind": "DaemonSet"}, {"owner_kind": "Node"}, {"deleted_at": NOW}],
    ids=["nobody makes it anew", "a daemon", "a static pod", "its successor is there"],
)
def test_what_will_not_come_back_is_not_bought_for(fields: dict[str, Any]) -> None:
    (seen,) = with_displaced(snapshot(pod(**fields), deleted_at=NOW)).pods
    assert seen.node_name == "n"
