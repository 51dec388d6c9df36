"""Which nodes are of no use for what they were bought for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autonodes.core.model import Taint
from autonodes.core.spoiling import spoiled, too_many
from core.parts import amounts, ready_node, running

OWN, STARTUP = Taint("own", "", "NoSchedule"), Taint("starting", "", "NoExecute")


def told(*taints: Taint, pods: tuple[Any, ...] = (), **fields: Any) -> str:
    node, behind = ready_node("n1", taints=taints, **fields)
    asked = replace(behind, taints=(OWN,), startup_taints=(STARTUP,), requests=amounts(cpu=1))
    return spoiled(node, asked, pods, 1000.0)


@pytest.mark.parametrize(
    "taint",
    [
        OWN,
        STARTUP,
        Taint("karpenter.sh/disrupted", "", "NoSchedule"),
        Taint("node.kubernetes.io/memory-pressure", "", "NoSchedule"),
        Taint("readiness.k8s.io/cni", "", "NoSchedule"),
        Taint("foreign", "", "PreferNoSchedule"),
    ],
)
def test_the_ordinary_life_of_a_node_spoils_nothing(taint: Taint) -> None:
    assert told(taint) == ""


def test_what_keeps_its_pods_away_is_named() -> None:
    assert told(Taint("foreign", "yes", "NoSchedule")) == "taint foreign=yes:NoSchedule"
    assert told(unschedulable=True) == "it is cordoned"
    assert told(allocatable=amounts(cpu="500m")) == "it has cpu=500m where 1 was asked for"


def test_a_node_with_pods_or_one_that_is_kept_for_debugging_is_not_spoiled() -> None:
    foreign = Taint("foreign", "", "NoSchedule")
    assert told(foreign, pods=(running("a", "n1"),)) == ""
    assert told(foreign, pods=(running("a", "n1", owner_kind="DaemonSet"),)) != ""
    assert told(unschedulable=True, annotations={"autonodes.io/preserving": "cordon"}) == ""


def test_three_are_too_many_or_a_tenth_of_a_large_pool() -> None:
    assert [too_many(count, 3) for count in (2, 3)] == [False, True]
    assert [too_many(count, 100) for count in (9, 10)] == [False, True]
