"""``minValues``: how much of a choice a claim must leave."""

from dataclasses import replace

from autonodes.core.labels import INSTANCE_TYPE, ZONE
from autonodes.core.model import NodePool, PodUID
from autonodes.core.planner import plan
from autonodes.core.requirement import Requirement
from autonodes.core.requirements import Requirements
from core.parts import machine, pod, pods, snapshot

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
    assert purchase.requirements[INSTANCE_TYPE].min_values == 1


def families(least: int) -> NodePool:
    return NodePool(name="default", requirements=Requirements([Requirement("family", True, min_values=least)]))


def test_the_cut_to_sixty_types_leaves_the_choice() -> None:
    """The cheapest hundred are of one family."""
    many = [machine(f"a-{number:03}", "family In a", cpu=2, price=0.1 + number / 1e4) for number in range(100)]
    dear = machine("b", "family In b", cpu=2, price=9.0)
    (purchase,) = plan(snapshot(pods("a", 1, cpu=1), types=[*many, dear], pools=[families(2)])).purchases
    names = {name for name, *_ in purchase.candidates}
    assert len(names) == 60
    assert "b" in names
    assert purchase.price == 0.1


def test_what_pods_can_not_combine_leaves_the_choice_or_is_not_bought() -> None:
    """A pod that takes type a in z1 or type b in z2: a claim can't name both."""
    types = [machine("a", cpu=2, zones=("z1", "z2")), machine("b", cpu=2, price=0.2, zones=("z1", "z2"))]
    either = (
        Requirements([Requirement.of(INSTANCE_TYPE, "In", ["a"]), Requirement.of(ZONE, "In", ["z1"])]),
        Requirements([Requirement.of(INSTANCE_TYPE, "In", ["b"]), Requirement.of(ZONE, "In", ["z2"])]),
    )
    cluster = snapshot([pod("p", *either, cpu=1)], types=types, pools=[choosy(2)])
    found = plan(cluster)
    assert not found.purchases
    assert [reason.code for reason in found.unplaced[PodUID("p")]] == ["MinValues"]
    (purchase,) = plan(replace(cluster, min_values_policy="BestEffort")).purchases
    assert purchase.relaxed


def test_a_cheaper_packing_leaves_the_choice() -> None:
    patient = replace(choosy(2), planning_deadline=5.0)
    sizes = [pod(f"p-{number}", cpu=size) for number, size in enumerate((1, 1, 1, 2, 2, 3, 3, 4))]
    types = tuple(machine(f"type-{cpu}", cpu=cpu, memory="64Gi", price=cpu**0.9 * 0.1) for cpu in (2, 3, 4, 6, 8))
    found = plan(snapshot(sizes, types=types, pools=[patient]))
    assert not found.unplaced
    assert all(len({name for name, *_ in each.candidates}) >= 2 for each in found.purchases)
