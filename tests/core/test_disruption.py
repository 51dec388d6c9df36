from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from autonodes.core.disruption import Circumstances, Command, Decision, Policy, decide
from autonodes.core.labels import CAPACITY_TYPE, DO_NOT_DISRUPT, INSTANCE_TYPE
from autonodes.core.model import Budget, Claim, InstanceType, Node, NodePool, Pod, PodUID, Snapshot
from autonodes.core.podbudgets import DisruptionBudget
from core.parts import claim, machine, node, pod, pool, ready_node, requirements, running, snapshot

SMALL, LARGE = machine("small", cpu=2, price=0.1), machine("large", cpu=8, memory="16Gi", price=0.4)
POOL = pool(consolidate_after=0.0, budgets=(Budget(nodes="100%"),))
LATER = 10_000.0


def owned(name: str, kind: str = "small", capacity_type: str = "on-demand", **fields: Any) -> tuple[Node, Claim]:
    labels = {INSTANCE_TYPE: kind, CAPACITY_TYPE: capacity_type, **fields.pop("labels", {})}
    cpu, memory = (8, "16Gi") if kind == "large" else (2, "4Gi")
    present, behind = ready_node(name, labels=labels, **fields)
    room = node(name, cpu=cpu, memory=memory)
    return replace(present, capacity=room.capacity, allocatable=room.allocatable), behind


def cluster(
    *pairs: tuple[Node, Claim],
    pods: tuple[Pod, ...] = (),
    of: NodePool = POOL,
    types: tuple[InstanceType, ...] = (SMALL, LARGE),
) -> Snapshot:
    return snapshot(
        pods, types=types, pools=[of], nodes=[each for each, _ in pairs], claims=[each for _, each in pairs], now=LATER
    )


def decided(of: Snapshot, *drifted: str, policy: Policy | None = None, **facts: Any) -> Decision:
    return decide(of, Circumstances(drifted=frozenset(drifted), **facts), policy)


def shown(commands: tuple[Command, ...]) -> list[tuple[str, tuple[str, ...], list[str]]]:
    return [
        (each.reason, each.candidates, [purchase.candidates[0][0] for purchase in each.replacements])
        for each in commands
    ]


def test_an_empty_node_goes_before_anything_else_is_thought_of() -> None:
    found = decided(cluster(owned("n1"), owned("n2"), pods=(running("a", "n2", cpu=1),)), "n2")
    assert shown(found.commands) == [("Empty", ("n1",), [])]


def test_a_drifted_node_is_replaced_and_goes_without_replacement_where_there_is_room() -> None:
    alone = cluster(owned("n1"), pods=(running("a", "n1", cpu=1),))
    assert shown(decided(alone, "n1").commands) == [("Drifted", ("n1",), ["small"])]
    never = replace(POOL, consolidate_after=None)
    pods = (running("a", "n1", cpu=1), running("b", "n2", cpu=1))
    roomy = cluster(owned("n1"), owned("n2"), pods=pods, of=never)
    assert shown(decided(roomy, "n1").commands) == [("Drifted", ("n1",), [])]


def test_drifted_nodes_go_as_many_at_once_as_the_budget_allows_each_on_its_own() -> None:
    half = replace(POOL, budgets=(Budget(nodes="50%"),))
    names = [f"n{number}" for number in range(4)]
    pods = tuple(running(f"p{name}", name, cpu=2) for name in names)
    found = decided(cluster(*map(owned, names), pods=pods, of=half, types=(SMALL,)), *names)
    assert shown(found.commands) == [("Drifted", ("n0",), ["small"]), ("Drifted", ("n1",), ["small"])]
    assert found.blocked["n2"] == "the disruption budget of NodePool default is used up"


def test_nodes_whose_pods_share_a_purchase_go_together() -> None:
    pods = tuple(running(f"p{number}", f"n{number}", cpu=2) for number in range(4))
    pairs = [owned(f"n{number}") for number in range(4)]
    bargain = machine("large", cpu=8, memory="16Gi", price=0.2)
    found = decided(cluster(*pairs, pods=pods, types=(SMALL, bargain)))
    assert shown(found.commands) == [("Underutilized", ("n0", "n1", "n2", "n3"), ["large"])]
    assert round(found.commands[0].saved, 6) == 0.2


def test_several_nodes_are_replaced_by_fewer_that_cost_less() -> None:
    pods = tuple(running(f"p{number}-{copy}", f"n{number}", cpu=1) for number in range(3) for copy in range(2))
    middle = machine("middle", cpu=3, memory="8Gi", price=0.15)
    found = decided(cluster(*(owned(f"n{number}", "large") for number in range(3)), pods=pods, types=(middle, LARGE)))
    replaced = [(each.candidates, len(each.replacements)) for each in found.commands]
    assert replaced == [(("n0", "n1", "n2"), 2)]
    assert round(found.commands[0].saved, 6) == 0.9


def test_a_badly_used_node_goes_when_its_pods_fit_elsewhere() -> None:
    pods = (running("a", "n1", cpu="500m"), running("b", "n2", cpu=1), running("c", "n2", cpu="500m"))
    found = decided(cluster(owned("n1"), owned("n2"), pods=pods, types=(SMALL,)))
    assert shown(found.commands) == [("Underutilized", ("n1",), [])]


def test_no_node_goes_for_one_that_is_not_there_yet() -> None:
    coming = cluster(owned("n1"), pods=(running("a", "n1", cpu=1),), types=(SMALL,))
    coming = replace(coming, claims=(*coming.claims, claim("c1")))
    found = decided(coming)
    assert not found.commands
    assert found.blocked["n1"] == "its pods would go to c1, which is not initialized yet"
    assert not decided(coming, "n1").commands
    there = cluster(owned("n1"), owned("c1"), pods=(running("a", "n1", cpu=1), running("b", "c1", cpu=1)))
    assert [each.reason for each in decided(there).commands] == ["Underutilized"]


def test_a_large_node_is_replaced_by_a_smaller_one_that_stays_cheaper_whatever_is_launched() -> None:
    middle = machine("middle", cpu=4, memory="8Gi", price=0.39)
    of = cluster(owned("n1", "large"), pods=(running("a", "n1", cpu=1),), types=(SMALL, middle, LARGE))
    (command,) = decided(of).commands
    assert [each[0] for each in command.replacements[0].candidates] == ["small"]
    assert command.replacements[0].requirements.allowed(INSTANCE_TYPE).single == "small"


def test_a_trifle_is_not_worth_a_replacement() -> None:
    of = cluster(owned("n1", "large"), pods=(running("a", "n1", cpu=1),), types=(machine("small", price=0.39), LARGE))
    found = decided(of)
    assert not found.commands
    assert found.blocked == {"n1": "its pods would cost as much elsewhere"}
    assert decided(of, policy=Policy(min_savings=0.01)).commands


def test_spot_is_replaced_by_spot_only_with_enough_types_to_choose_from() -> None:
    large = machine("large", cpu=8, memory="16Gi", price=0.4, capacity_types=("spot",))

    def with_types(count: int) -> Decision:
        cheap = tuple(machine(f"t{number:02}", price=0.1, capacity_types=("spot",)) for number in range(count))
        one = owned("n1", "large", "spot")
        return decided(cluster(one, pods=(running("a", "n1", cpu=1),), types=(*cheap, large)))

    assert not with_types(14).commands
    (command,) = with_types(20).commands
    assert len({each[0] for each in command.replacements[0].candidates}) == 15


def test_young_nodes_quiet_times_and_policies_hold_a_badly_used_node_and_not_a_drifted_one() -> None:
    pods = (running("a", "n1", cpu=1),)
    for of, age in (
        (replace(POOL, consolidation_policy="WhenEmpty"), 0.0),
        (replace(POOL, consolidate_after=None), 0.0),
        (replace(POOL, consolidate_after=20_000.0), 0.0),
        (POOL, 20_000.0),
    ):
        policy = Policy(min_age=age)
        held = cluster(owned("n1", "large"), pods=pods, of=of)
        assert not decided(held, policy=policy).commands
        assert decided(held, "n1", policy=policy).commands


@dataclass(frozen=True)
class Guard:
    name: str = "guard"
    namespace: str = "default"
    allows: bool = False
    fault: str = ""

    def selects(self, pod: Pod) -> bool:
        return pod.name == "a"

    def blocks(self, pod: Pod) -> bool:
        return not self.allows


def test_what_protects_a_pod_is_named_and_a_grace_period_overrules_it_for_drift() -> None:
    one = cluster(owned("n1", "large"), pods=(running("a", "n1", cpu=1),))
    kept = decided(one, "n1", budgets=(Guard(),))
    assert (kept.commands, kept.blocked["n1"]) == ((), "PodDisruptionBudget default/guard lets pod default/a not go")
    two = decided(one, "n1", budgets=(Guard(allows=True), Guard("other", allows=True)))
    assert two.blocked["n1"] == "pod default/a has more than one PodDisruptionBudget: guard, other"
    present, behind = owned("n1", "large")
    hard = cluster((present, replace(behind, termination_grace_period=60.0)), pods=one.pods)
    assert shown(decided(hard, "n1", budgets=(Guard(),)).commands) == [("Drifted", ("n1",), ["small"])]
    assert not decided(hard, budgets=(Guard(),)).commands


def test_nobody_knows_whom_a_budget_guards_that_can_not_be_read_so_it_guards_its_namespace() -> None:
    unread = DisruptionBudget(namespace="default", name="odd", selector=None, fault="spec.selector: what?")
    one = cluster(owned("n1", "large"), pods=(running("a", "n1", cpu=1),))
    for drifted in ((), ("n1",)):
        kept = decided(one, *drifted, budgets=(unread,))
        assert kept.commands == ()
        assert kept.blocked == {
            "n1": "PodDisruptionBudget default/odd can't be read and may guard pod default/a: spec.selector: what?"
        }
    elsewhere = replace(unread, namespace="other")
    assert decided(one, "n1", budgets=(elsewhere,)).commands
    assert decided(cluster(owned("n1")), budgets=(unread,)).commands, "nothing is evicted from an empty node"


def test_what_keeps_a_drifted_node_is_told_before_what_keeps_a_badly_used_one() -> None:
    guarded = cluster(owned("n1"), owned("n2"), pods=(running("a", "n1", cpu=1), running("b", "n2", cpu=1)))
    found = decided(guarded, "n1", budgets=(Guard(),), policy=Policy(min_age=2 * LATER))
    assert "lets pod default/a not go" in found.blocked["n1"]
    assert found.blocked["n2"] == "it is too young"


def test_annotations_hold_nodes_and_pods() -> None:
    never = {DO_NOT_DISRUPT: "true"}
    on_pod = cluster(owned("n1", "large"), pods=(running("a", "n1", cpu=1, annotations=never),))
    assert not decided(on_pod, "n1").commands
    on_node = cluster(owned("n1", "large", annotations=never), pods=(running("a", "n1", cpu=1),))
    assert decided(on_node, "n1").blocked == {"n1": f"it has the annotation {DO_NOT_DISRUPT}"}


def test_a_pod_without_another_place_keeps_its_node_and_is_named() -> None:
    pods = (running("a", "n1", cpu=1, required_terms=(requirements("zone In nowhere"),)), running("b", "n2", cpu=2))
    found = decided(cluster(owned("n1"), owned("n2"), pods=pods, types=(SMALL,)), "n1", "n2")
    assert shown(found.commands) == [("Drifted", ("n2",), ["small"])]
    assert found.blocked["n1"] == "no other place for default/a"


def test_pods_that_wait_are_no_part_of_a_replacement() -> None:
    pods = (running("a", "n1", cpu=2), pod("waits", cpu=2))
    (command,) = decided(cluster(owned("n1"), pods=pods, types=(SMALL,)), "n1").commands
    assert [purchase.pods for purchase in command.replacements] == [("a",)]


def test_a_node_that_pods_were_promised_is_left_alone() -> None:
    pods = (running("a", "n1", cpu=1), pod("waits", cpu=1))
    found = decided(cluster(owned("n1"), pods=pods), "n1")
    assert (found.commands, found.blocked) == ((), {"n1": "pending pods will go there"})


def test_no_pod_takes_the_place_that_another_was_promised_though_that_one_still_shows_the_place_before() -> None:
    pods = (running("a", "n1", cpu=1), running("first", "n2", cpu=2), pod("waits", cpu=2, nominated_node="n2"))
    of = replace(cluster(owned("n1"), owned("n2"), owned("n3"), pods=pods), nominations={PodUID("waits"): "n3"})
    found = decided(of, "n1")
    assert shown(found.commands) == [("Drifted", ("n1",), ["small"])]


def test_what_is_under_way_is_not_decided_again() -> None:
    one = cluster(owned("n1"), pods=(running("a", "n1", cpu=1),))
    assert not decided(one, "n1", busy=frozenset({"n1"})).commands


def test_balanced_weighs_savings_against_disruption() -> None:
    balanced = replace(POOL, consolidation_policy="Balanced")
    crowd = tuple(running(f"p{number}", "n1", cpu="10m") for number in range(60))
    pairs = (owned("n1"), owned("n2", "large"))
    full = tuple(running(f"b{number}", "n2", cpu="1400m") for number in range(5))
    assert not decided(cluster(*pairs, pods=(*crowd, *full), of=balanced)).commands
    few = decided(cluster(*pairs, pods=(*crowd[:1], *full), of=balanced)).commands
    assert shown(few)[0][1] == ("n1",)


def test_the_same_snapshot_gives_the_same_decision() -> None:
    pods = tuple(running(f"p{number}", f"n{number}", cpu="900m") for number in range(6))
    of = cluster(*(owned(f"n{number}") for number in range(6)), pods=pods)
    assert decided(of) == decided(of)


def static(*pairs: tuple[Node, Claim], pods: tuple[Pod, ...] = (), **fields: Any) -> Snapshot:
    """A static pool with these nodes, and nothing else."""
    fixed = pool(**{"budgets": (Budget(nodes="2"),), "ready": False, **fields})
    return replace(cluster(*pairs, pods=pods), pools=(), static_pools=(fixed,))


def test_drifted_nodes_of_a_static_pool_get_one_more_each_as_far_as_budget_and_limit_go() -> None:
    owns = [owned(f"n{number}") for number in range(4)]
    pods = (running("a", "n1", cpu=1),)
    found = decided(static(*owns, pods=pods), "n0", "n1", "n2")
    assert [(each.candidates, len(each.replacements)) for each in found.commands] == [(("n0",), 1), (("n1",), 1)]
    assert found.commands[1].pods == {"a"}
    assert found.commands[0].replacements[0].pods == ()
    assert found.blocked == {"n2": "the disruption budget of NodePool default is used up"}
    limited = decided(static(*owns, limits={"nodes": 5}), "n0", "n1")
    assert [each.candidates for each in limited.commands] == [("n0",)]
    assert limited.blocked == {"n1": "the limit on nodes of NodePool default leaves no room for its replacement"}


def test_a_static_node_that_has_not_drifted_is_never_disrupted() -> None:
    assert decided(static(owned("n1"), owned("n2"))).commands == ()


def test_the_drift_of_a_large_pool_is_over_in_as_many_rounds_as_its_budget_asks_for() -> None:
    """Each round takes as long as a replacement takes to join; one node a round would be 4,000 of them."""
    tenth = replace(POOL, budgets=(Budget(nodes="10%"),))
    fleet = {f"n{number:04}": owned(f"n{number:04}") for number in range(4000)}
    drifted, rounds = set(fleet), 0
    while drifted and rounds < 20:
        found = decided(cluster(*fleet.values(), pods=_one_each(fleet), of=tenth), *drifted)
        assert len(found.commands) <= 400
        gone = {name for command in found.commands for name in command.candidates}
        assert all(len(command.replacements) == 1 for command in found.commands)
        for name in gone:
            del fleet[name]
            fleet[f"{name}r"] = owned(f"{name}r")
        drifted -= gone
        rounds += 1
    assert rounds == 10


def _one_each(fleet: Mapping[str, object]) -> tuple[Pod, ...]:
    return tuple(running(f"p-{name}", name, cpu=2) for name in fleet)
