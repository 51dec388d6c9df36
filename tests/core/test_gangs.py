"""Groups of pods: all of them have a node, or nothing is bought for any."""

from __future__ import annotations

from typing import Any

import pytest

from autonodes.core.gangs import GROUP_INVALID, GROUP_REFUSED, GROUP_WAITS
from autonodes.core.labels import HOSTNAME, POD_GROUP, POD_GROUP_MIN_MEMBER, REQUIRED_TOPOLOGY, ZONE
from autonodes.core.model import HostPort, Plan, Pod, PodGroup, PodUID, Reason, Taint, Toleration
from autonodes.core.planner import plan
from core.parts import GPU, claim, machine, node, pod, pool, ready_node, requirements, running, snapshot

SMALL = machine("small", cpu=2, price=0.1, zones=("z1", "z2"))
RACK = "topology.kubernetes.io/rack"


def members(name: str, count: int, *, minimum: int | None = None, topology: str = "", **fields: Any) -> list[Pod]:
    """Pods of a group by labels."""
    return [pod(f"{name}-{number}", **labelled(name, minimum or count, topology), **fields) for number in range(count)]


def labelled(name: str, minimum: int, topology: str = "") -> dict[str, Any]:
    return {
        "labels": {POD_GROUP: name, POD_GROUP_MIN_MEMBER: str(minimum)},
        "annotations": {REQUIRED_TOPOLOGY: topology} if topology else {},
    }


def zones(found: Plan) -> set[str]:
    return {zone for purchase in found.purchases for _, zone, _, _ in purchase.candidates}


def why(found: Plan, name: str) -> Reason:
    return found.unplaced[PodUID(name)][0]


def test_a_group_that_has_room_is_bought_for_whole() -> None:
    found = plan(snapshot(members("train", 4, cpu=1), types=[SMALL]))
    assert sum(len(purchase.pods) for purchase in found.purchases) == 4
    assert not found.unplaced
    assert found.refused_groups == ()


def test_nothing_is_bought_for_a_group_that_a_limit_cuts() -> None:
    found = plan(snapshot(members("train", 4, cpu=1), types=[SMALL], pools=[pool(limits={"cpu": 2000})]))
    assert found.purchases == ()
    assert found.refused_groups == ("default/train",)
    assert why(found, "train-3").code == GROUP_REFUSED
    assert "needs 4 pods with a node, and 2 of its 4 can have one" in why(found, "train-3").text


def test_the_pods_that_found_no_place_say_which_limit_it_was() -> None:
    found = plan(snapshot(members("train", 4, cpu=1), types=[SMALL], pools=[pool(limits={"cpu": 2000})]))
    codes = [reason.code for reason in found.unplaced[PodUID("train-3")]]
    assert codes == [GROUP_REFUSED, "LimitExceeded"]


def test_others_are_planned_all_the_same() -> None:
    alone = pod("alone", cpu=1)
    found = plan(snapshot([*members("train", 4, cpu=1), alone], types=[SMALL], pools=[pool(limits={"cpu": 4000})]))
    assert [purchase.pods for purchase in found.purchases] == [("alone",)]


def test_room_on_nodes_that_exist_counts() -> None:
    there, behind = ready_node("there", cpu=2)
    limited = pool(limits={"cpu": 4000})
    found = plan(snapshot(members("train", 4, cpu=1), types=[SMALL], pools=[limited], nodes=[there], claims=[behind]))
    assert sorted(found.placements.values()) == ["there", "there"]
    assert len(found.purchases) == 1


def test_nothing_is_placed_of_a_group_that_can_not_be_whole() -> None:
    there, behind = ready_node("there", cpu=2)
    found = plan(snapshot(members("train", 4, cpu=1), nodes=[there], claims=[behind], pools=[]))
    assert found.placements == {}
    assert set(found.unplaced) == {f"train-{number}" for number in range(4)}


def test_of_two_groups_that_do_not_fit_together_the_more_important_is_bought_for() -> None:
    low, high = members("low", 2, cpu=2, created_at=1), members("high", 2, cpu=2, priority=10, created_at=2)
    found = plan(snapshot([*low, *high], types=[SMALL], pools=[pool(limits={"cpu": 6000})]))
    assert {uid for purchase in found.purchases for uid in purchase.pods} == {"high-0", "high-1"}
    assert found.refused_groups == ("default/low",)


def test_a_small_group_gets_what_a_large_one_can_not_use() -> None:
    large, small = members("large", 4, cpu=2, created_at=1), members("small", 2, cpu=2, created_at=2)
    found = plan(snapshot([*large, *small], types=[SMALL], pools=[pool(limits={"cpu": 6000})]))
    assert {uid for purchase in found.purchases for uid in purchase.pods} == {"small-0", "small-1"}


def test_pods_beyond_the_minimum_may_be_left() -> None:
    found = plan(snapshot(members("train", 4, minimum=2, cpu=1), types=[SMALL], pools=[pool(limits={"cpu": 2000})]))
    assert len(found.purchases) == 1
    assert len(found.unplaced) == 2
    assert found.refused_groups == ()


def test_pods_that_run_count_towards_the_minimum() -> None:
    there, behind = ready_node("there", cpu=2)
    runs = running("train-9", "there", cpu=2, **labelled("train", 2))
    found = plan(
        snapshot([runs, *members("train", 1, minimum=2, cpu=1)], types=[SMALL], nodes=[there], claims=[behind])
    )
    assert len(found.purchases) == 1


def test_a_group_waits_until_enough_of_its_pods_are_there() -> None:
    found = plan(snapshot(members("train", 3, minimum=4, cpu=1), types=[SMALL]))
    assert found.purchases == ()
    assert why(found, "train-0").code == GROUP_WAITS
    assert "3 of at least 4" in why(found, "train-0").text
    assert found.refused_groups == ()


@pytest.mark.parametrize("minimum", ["0", "-1", "many", "٣"])
def test_a_minimum_that_is_no_positive_number_is_named(minimum: str) -> None:
    wrong = pod("a", labels={POD_GROUP: "train", POD_GROUP_MIN_MEMBER: minimum})
    found = plan(snapshot([wrong, pod("b", cpu=1)], types=[SMALL]))
    assert why(found, "a").code == GROUP_INVALID
    assert POD_GROUP_MIN_MEMBER in why(found, "a").text
    assert [purchase.pods for purchase in found.purchases] == [("b",)]


def test_pods_of_one_group_that_disagree_about_it_are_named() -> None:
    one, other = pod("a", **labelled("train", 2)), pod("b", **labelled("train", 3))
    found = plan(snapshot([one, other], types=[SMALL]))
    assert "default/a and default/b" in why(found, "a").text


class TestPodGroups:
    """The API's own groups."""

    def pods(self, count: int, **fields: Any) -> list[Pod]:
        return [pod(f"train-{number}", **{"group": "train", "cpu": 1, **fields}) for number in range(count)]

    def test_one_that_does_not_exist_keeps_its_pods_waiting(self) -> None:
        found = plan(snapshot(self.pods(2), types=[SMALL]))
        assert why(found, "train-0").code == GROUP_INVALID
        assert found.purchases == ()

    def test_its_minimum_holds(self) -> None:
        group = PodGroup(namespace="default", name="train", min_count=3)
        assert plan(snapshot(self.pods(2), types=[SMALL], groups=(group,))).purchases == ()
        assert plan(snapshot(self.pods(3), types=[SMALL], groups=(group,))).purchases != ()

    def test_without_a_gang_policy_its_pods_are_planned_one_by_one(self) -> None:
        group = PodGroup(namespace="default", name="train", min_count=0)
        limited = pool(limits={"cpu": 2000})
        found = plan(snapshot(self.pods(4), types=[SMALL], pools=[limited], groups=(group,)))
        assert len(found.unplaced) == 2


class TestTopology:
    def test_all_pods_go_to_one_zone(self) -> None:
        found = plan(snapshot(members("train", 6, topology=ZONE, cpu=1), types=[SMALL]))
        assert len(found.purchases) == 3
        assert len(zones(found)) == 1

    def test_a_pod_group_says_it_by_its_constraints(self) -> None:
        group = PodGroup(namespace="default", name="train", min_count=4, topology_key=ZONE)
        nodes = [ready_node(f"in-{zone}", cpu=2, labels={ZONE: zone}) for zone in ("z1", "z2")]
        given = {"nodes": [each for each, _ in nodes], "claims": [each for _, each in nodes], "groups": (group,)}
        waiting = [pod(f"train-{number}", cpu=1, group="train") for number in range(4)]
        refused = plan(snapshot(waiting, pools=[], **given))
        assert refused.placements == {}
        assert why(refused, "train-0").code == GROUP_REFUSED
        found = plan(snapshot(waiting, types=[SMALL], **given))
        where = zones(found) | {name.removeprefix("in-") for name in found.placements.values()}
        assert len(where) == 1

    def test_the_zone_is_the_cheapest_that_holds_all(self) -> None:
        cheap = machine("cheap", cpu=2, price=0.05, zones=("z1",))
        only_here = machine("gpu", cpu=2, gpu=1, price=1.0, zones=("z2",))
        train = [*members("train", 2, minimum=3, topology=ZONE, cpu=1), *members("train", 3, topology=ZONE, gpu=1)[2:]]
        found = plan(snapshot(train, types=[SMALL, cheap, only_here]))
        assert zones(found) == {"z2"}

    def test_room_that_is_there_makes_a_zone_cheap(self) -> None:
        there, behind = ready_node("there", cpu=2, labels={ZONE: "z2"})
        found = plan(snapshot(members("train", 4, topology=ZONE, cpu=1), types=[SMALL], nodes=[there], claims=[behind]))
        assert zones(found) == {"z2"}
        assert list(found.placements.values()) == ["there", "there"]

    def test_where_some_run_the_others_follow(self) -> None:
        there, behind = ready_node("there", cpu=1, labels={ZONE: "z2"})
        runs = running("train-9", "there", cpu=1, **labelled("train", 2, ZONE))
        waits = members("train", 1, minimum=2, topology=ZONE, cpu=1)
        cheap = machine("cheap", cpu=2, price=0.01, zones=("z1",))
        found = plan(snapshot([runs, *waits], types=[SMALL, cheap], nodes=[there], claims=[behind]))
        assert zones(found) == {"z2"}

    def test_a_group_that_no_zone_holds_is_refused_although_two_zones_would(self) -> None:
        nodes = [ready_node(f"in-{zone}", cpu=2, labels={ZONE: zone}) for zone in ("z1", "z2")]
        train = members("train", 4, topology=ZONE, cpu=1)
        found = plan(snapshot(train, nodes=[each for each, _ in nodes], claims=[each for _, each in nodes], pools=[]))
        assert found.placements == {}
        assert "the best of 2 domains is topology.kubernetes.io/zone=z1" in why(found, "train-0").text

    def test_racks_are_what_nodes_have_as_labels(self) -> None:
        racks = [node(f"n{number}", cpu=2, labels={RACK: f"r{number // 2}"}) for number in range(4)]
        found = plan(snapshot(members("train", 4, topology=RACK, cpu=1), nodes=racks))
        assert sorted(set(found.placements.values())) == ["n0", "n1"]

    def test_a_label_that_nothing_has_is_named(self) -> None:
        found = plan(snapshot(members("train", 2, topology=RACK, cpu=1), types=[SMALL]))
        assert f"no node and no instance type has the label {RACK}" in why(found, "train-0").text


class TestOneNode:
    """Groups whose domain is the node."""

    LARGE = machine("large", cpu=8, price=0.5)

    def test_a_group_gets_one_node_that_holds_it(self) -> None:
        found = plan(snapshot(members("train", 4, topology=HOSTNAME, cpu=1), types=[SMALL, self.LARGE]))
        assert [purchase.candidates[0][0] for purchase in found.purchases] == ["large"]
        assert found.purchases[0].pods == ("train-0", "train-1", "train-2", "train-3")

    def test_it_is_refused_where_no_machine_is_large_enough(self) -> None:
        found = plan(snapshot(members("train", 4, topology=HOSTNAME, cpu=1), types=[SMALL]))
        assert found.purchases == ()
        assert why(found, "train-0").code == GROUP_REFUSED

    def test_it_goes_to_the_node_where_some_of_it_run(self) -> None:
        nodes = [ready_node(name, cpu=4, labels={HOSTNAME: name}) for name in ("a", "b")]
        runs = running("train-9", "b", cpu=1, **labelled("train", 3, HOSTNAME))
        waits = members("train", 2, minimum=3, topology=HOSTNAME, cpu=1)
        found = plan(snapshot([runs, *waits], nodes=[n for n, _ in nodes], claims=[c for _, c in nodes]))
        assert set(found.placements.values()) == {"b"}

    def test_pods_that_see_taints_differently_can_not_be_one(self) -> None:
        one, other = members("train", 2, topology=HOSTNAME, cpu=1)
        tolerant = pod("other", **labelled("train", 2, HOSTNAME), tolerations=(Toleration("a", "Exists"),))
        found = plan(snapshot([one, tolerant], types=[SMALL]))
        assert "differ in tolerations" in found.unplaced[one.uid][1].text
        assert other.uid not in found.unplaced

    def test_pods_that_want_one_port_can_not_be_one(self) -> None:
        train = members("train", 2, topology=HOSTNAME, cpu=1, host_ports=(HostPort(80),))
        found = plan(snapshot(train, types=[SMALL]))
        assert "host port" in found.unplaced[PodUID("train-0")][1].text


def test_planning_again_with_the_claims_in_flight_buys_nothing_more() -> None:
    train = members("train", 4, topology=ZONE, cpu=1)
    flying = [claim(f"c{number}", labels={ZONE: "z2"}) for number in range(2)]
    found = plan(snapshot(train, types=[SMALL], claims=flying))
    assert found.purchases == ()
    assert sorted(found.placements.values()) == ["c0", "c0", "c1", "c1"]


def test_groups_of_different_namespaces_with_one_name_are_two() -> None:
    here, there = members("train", 2, cpu=1), members("train", 2, cpu=1, namespace="other")
    there = [pod(f"other-{each.name}", cpu=1, namespace="other", **labelled("train", 3)) for each in there]
    found = plan(snapshot([*here, *there], types=[SMALL]))
    assert set(found.unplaced) == {"other-train-0", "other-train-1"}
    assert [purchase.groups for purchase in found.purchases] == [("default/train",)]


def test_the_constraints_of_each_pod_hold_beside_the_group() -> None:
    tainted = pool("tainted", taints=(Taint("a", "b"),))
    chosen = pod("x", requirements(f"{ZONE} In z1"), cpu=1, **labelled("train", 2, ZONE))
    other = pod("y", cpu=1, **labelled("train", 2, ZONE))
    found = plan(snapshot([chosen, other], types=[SMALL, machine("g", gpu=1, price=9)], pools=[pool(), tainted]))
    assert zones(found) == {"z1"}
    assert all(GPU not in purchase.requests for purchase in found.purchases)
