"""``minValues``: how much of a choice a claim must leave."""

from dataclasses import replace

from autonodes.core.labels import INSTANCE_TYPE
from autonodes.core.model import NodePool, PodUID
from autonodes.core.planner import plan
from autonodes.core.requirement import Requirement
from autonodes.core.requirements import Requirements
from core.parts import machine, pods, snapshot

TYPES = tuple(machine(f"type-{cpu}", cpu=cpu, memory="64Gi", price=cpu * 0.1) for cpu in (2, 4, 8))


def choosy(least: int) -> NodePool:
    return NodePool(name="default", requirements=Requirements([Requirement(INSTANCE_TYPE, True, min_values=least)]))


def test_nodes_are_only_as_large_as_leaves_the_choice() -> None:
    found = plan(snapshot(pods("a", 8, cpu=1), types=TYPES, pools=[choosy(2)]))
    assert not found.unplaced
    for purchase in found.purchases:
        assert len({name for name, *_ in purchase.candidates}) >= 2
        assert purchase.requirements[INSTANCE_TYPE].min_values == 2
        assert not purchase.relaxed


def test_what_leaves_no_choice_is_not_bought() -> None:
    found = plan(snapshot(pods("a", 1, cpu=8), types=TYPES, pools=[choosy(2)]))
    assert not found.purchases
    assert found.unplaced[PodUID("a-000")][0].code == "MinValues"


def test_best_effort_buys_all_the_same_and_says_so() -> None:
    cluster = snapshot(pods("a", 1, cpu=8), types=TYPES, pools=[choosy(2)])
    (purchase,) = plan(replace(cluster, min_values_policy="BestEffort")).purchases
    assert purchase.relaxed == ("node.kubernetes.io/instance-type: 1 of minValues 2",)
