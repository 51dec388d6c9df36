"""Spread, affinity, anti-affinity and preferences, on small clusters whose best answer is plain to see."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from autonodes.core.labels import CAPACITY_TYPE, HOSTNAME, ZONE
from autonodes.core.model import Plan, PodUID, Snapshot
from autonodes.core.planner import plan
from autonodes.core.podterms import PodSelector, PodTerm, Preferences, Spread
from autonodes.core.requirements import Requirements
from core.parts import machine, node, pod, pods, pool, requirements, running, snapshot

ZONES = ("z1", "z2", "z3")
SMALL = machine("small", cpu=2, memory="4Gi", price=0.1, zones=ZONES, capacity_types=("spot", "on-demand"))
LARGE = machine("large", cpu=16, memory="32Gi", price=0.75, zones=ZONES)
WEB = {"labels": {"app": "web"}}


def selecting(app: str = "web", namespaces: tuple[str, ...] = ("default",)) -> PodSelector:
    return PodSelector(Requirements.from_labels({"app": app}), frozenset(namespaces))


def spread(key: str = ZONE, **fields: Any) -> dict[str, Any]:
    return {**WEB, "spread": (Spread(key, selecting(), **fields),)}


def near(key: str, app: str = "web", **fields: Any) -> dict[str, Any]:
    return {**WEB, "near": (PodTerm(key, selecting(app)),), **fields}


def apart(key: str, app: str = "web", **fields: Any) -> dict[str, Any]:
    return {**WEB, "apart": (PodTerm(key, selecting(app)),), **fields}


def by(key: str, found: Plan) -> dict[str, int]:
    """Pods of purchases by a label that their claims have settled."""
    counts: Counter[str] = Counter()
    for purchase in found.purchases:
        counts[purchase.requirements.allowed(key).single or "anything"] += len(purchase.pods)
    return dict(counts)


def why(found: Plan, name: str) -> str:
    (reason,) = found.unplaced[PodUID(name)]
    return f"{reason.code}: {reason.text}"


@pytest.mark.parametrize(
    ("key", "values"), [(ZONE, ZONES), (CAPACITY_TYPE, ("on-demand", "spot")), ("rack", ("r1", "r2"))]
)
def test_a_spread_parts_pods_evenly_over_what_could_be_bought(key: str, values: tuple[str, ...]) -> None:
    racks = pool("default", "rack In r1 r2")
    found = plan(snapshot(pods("a", 6, cpu=1, **spread(key)), types=(SMALL,), pools=[racks]))
    assert by(key, found) == dict.fromkeys(values, 6 // len(values))


def test_running_pods_count() -> None:
    nodes = [node("n1", cpu=2, labels={ZONE: "z1"}), node("n2", cpu=2, labels={ZONE: "z2"})]
    there = [running("r1", "n1", cpu=2, **WEB), running("r2", "n2", cpu=2, **WEB)]
    found = plan(snapshot([*there, pod("a", cpu=1, **spread())], types=(SMALL,), nodes=nodes))
    assert by(ZONE, found) == {"z3": 1}


def test_pods_that_are_on_their_way_out_do_not_count_for_a_spread() -> None:
    nodes = [node("n1", labels={ZONE: "z1"}), node("n2", cpu=1, labels={ZONE: "z2"})]
    there = [running("r1", "n1", deleted_at=1.0, **WEB), running("r2", "n2", **WEB)]
    only = pool("default", f"{ZONE} In z1 z2")
    found = plan(snapshot([*there, pod("a", cpu=1, **spread())], types=(SMALL,), pools=[only], nodes=nodes))
    assert found.placements == {"a": "n1"}


def test_domains_that_the_pod_s_own_affinity_rules_out_do_not_count() -> None:
    waiting = pods("a", 4, f"{ZONE} In z1 z2", cpu=1, **spread())
    assert by(ZONE, plan(snapshot(waiting, types=(SMALL,)))) == {"z1": 2, "z2": 2}


def test_too_few_domains_allow_no_more_than_the_skew_in_each() -> None:
    only = pool("default", f"{ZONE} In z1 z2")
    found = plan(snapshot(pods("a", 5, cpu=1, **spread(min_domains=3)), types=(SMALL,), pools=[only]))
    assert by(ZONE, found) == {"z1": 1, "z2": 1}
    assert why(found, "a-004") == (
        "TopologySpread: would exceed maxSkew 1 of topology spread by topology.kubernetes.io/zone (z1: 1, z2: 1)"
    )


def test_a_domain_that_is_full_holds_back_the_others() -> None:
    types = (machine("small", cpu=2, price=0.1, zones=("z1",)), machine("small-2", cpu=2, price=0.1, zones=("z2",)))
    pools = [pool("first", f"{ZONE} In z1"), pool("second", f"{ZONE} In z2", limits={"nodes": 1})]
    found = plan(snapshot(pods("a", 8, cpu=2, **spread()), types=types, pools=pools))
    assert by(ZONE, found) == {"z1": 2, "z2": 1}
    assert len(found.unplaced) == 5


def test_a_spread_by_hostname_fills_each_node_up_to_the_skew() -> None:
    found = plan(snapshot(pods("a", 5, cpu="100m", **spread(HOSTNAME, max_skew=2)), types=(SMALL, LARGE)))
    assert sorted(len(purchase.pods) for purchase in found.purchases) == [1, 2, 2]


def test_pods_that_avoid_each_other_share_nodes_with_those_that_do_not() -> None:
    found = plan(snapshot([*pods("web", 4, cpu=1, **apart(HOSTNAME)), *pods("other", 4, cpu=1)], types=(SMALL, LARGE)))
    assert sorted(len(purchase.pods) for purchase in found.purchases) == [2, 2, 2, 2]
    assert found.cost == pytest.approx(0.4)


def test_anti_affinity_by_zone_takes_a_zone_each_and_says_when_there_is_none_left() -> None:
    found = plan(snapshot(pods("a", 4, cpu="100m", **apart(ZONE)), types=(SMALL,)))
    assert by(ZONE, found) == dict.fromkeys(ZONES, 1)
    assert why(found, "a-003").startswith("PodAntiAffinity: ")


@pytest.mark.parametrize("key", [ZONE, HOSTNAME])
def test_the_anti_affinity_of_a_running_pod_keeps_others_out(key: str) -> None:
    there = node("n1", cpu=8, labels={ZONE: "z1", HOSTNAME: "n1"})
    guard = running("guard", "n1", labels={"app": "guard"}, apart=(PodTerm(key, selecting()),))
    found = plan(snapshot([guard, pod("a", cpu=1, **WEB), pod("b", cpu=1)], types=(SMALL,), nodes=[there]))
    assert found.placements == {"b": "n1"}
    if key == ZONE:
        assert "z1" not in found.purchases[0].requirements.allowed(ZONE).values


def test_pods_that_want_to_be_together_get_one_zone() -> None:
    (zone,) = by(ZONE, plan(snapshot(pods("a", 30, cpu=1, **near(ZONE)), types=(SMALL,))))
    assert zone in ZONES


def test_pods_follow_those_that_run() -> None:
    there = node("n1", cpu=1, labels={ZONE: "z2"})
    found = plan(
        snapshot([running("r", "n1", cpu=1, **WEB), pod("a", cpu=1, **near(ZONE))], types=(SMALL,), nodes=[there])
    )
    assert by(ZONE, found) == {"z2": 1}


def test_pods_follow_those_that_wait_beside_them() -> None:
    found = plan(
        snapshot([pod("a", cpu=1, near=(PodTerm(ZONE, selecting()),)), pod("w", cpu=2, **WEB)], types=(SMALL,))
    )
    assert len({purchase.requirements.allowed(ZONE).single for purchase in found.purchases}) == 1


def test_a_pod_that_nobody_to_follow_is_told_so() -> None:
    found = plan(snapshot([pod("a", near=(PodTerm(ZONE, selecting()),))], types=(SMALL,)))
    assert why(found, "a").startswith("PodAffinity: ")


def test_pods_that_must_share_a_node_get_one_that_is_large_enough() -> None:
    found = plan(snapshot(pods("a", 5, cpu=1, **near(HOSTNAME)), types=(SMALL, LARGE)))
    assert [len(purchase.pods) for purchase in found.purchases] == [5]


def test_what_does_not_fit_onto_the_shared_node_waits() -> None:
    found = plan(snapshot(pods("a", 20, cpu=1, **near(HOSTNAME)), types=(SMALL, LARGE)))
    assert [len(purchase.pods) for purchase in found.purchases] == [16]
    assert len(found.unplaced) == 4


def test_a_pod_joins_the_node_of_the_one_that_it_follows() -> None:
    follower = pod("a", cpu=1, near=(PodTerm(HOSTNAME, selecting()),))
    found = plan(snapshot([follower, pod("w", cpu=1, **WEB)], types=(SMALL, LARGE)))
    assert [sorted(purchase.pods) for purchase in found.purchases] == [["a", "w"]]


def test_namespaces_are_told_apart() -> None:
    far = PodTerm(ZONE, PodSelector(selecting().labels, frozenset(), requirements("team In a")))
    there = node("n1", cpu=1, labels={ZONE: "z2"})
    other = replace(running("r", "n1", cpu=1, **WEB), namespace="shop")
    cluster = snapshot([other, pod("a", cpu=1, near=(far,))], types=(SMALL,), nodes=[there])
    assert PodUID("a") in plan(cluster).unplaced
    assert by(ZONE, plan(replace(cluster, namespaces={"shop": {"team": "a"}}))) == {"z2": 1}


def preferring(**fields: Any) -> Snapshot:
    return snapshot(pods("a", 40, cpu=1, **WEB, preferences=Preferences(**fields)), types=(SMALL, LARGE))


def test_preferences_never_buy_nodes() -> None:
    alone = preferring(apart=((100, PodTerm(HOSTNAME, selecting())),))
    assert plan(alone).cost == pytest.approx(plan(preferring()).cost)


def test_a_preference_decides_among_what_costs_as_much() -> None:
    liked = preferring(nodes=((1, requirements(f"{ZONE} In z3")),))
    assert by(ZONE, plan(liked)) == {"z3": 40}
    assert by(ZONE, plan(replace(liked, preference_policy="Ignore"))) != {"z3": 40}


def test_a_preference_for_what_is_dearer_is_given_up() -> None:
    dear = machine("dear", "disk In ssd", cpu=2, price=0.3)
    ssd = pod("a", cpu=1, preferences=Preferences(nodes=((100, requirements("disk In ssd")),)))
    (purchase,) = plan(snapshot([ssd], types=(SMALL, dear))).purchases
    assert purchase.candidates[0][0] == "small"


def test_a_soft_spread_is_kept_where_it_costs_nothing() -> None:
    found = plan(snapshot(pods("a", 6, cpu=2, **spread(hard=False)), types=(SMALL,)))
    assert by(ZONE, found) == dict.fromkeys(ZONES, 2)


def test_no_pod_is_the_first_of_its_kind_where_others_of_the_kind_go_elsewhere() -> None:
    there = node("n1", cpu=8, labels={ZONE: "z3", CAPACITY_TYPE: "on-demand", HOSTNAME: "n1"})
    following = pod("a", cpu=1, **near(ZONE, apart=(PodTerm(CAPACITY_TYPE, selecting()),)))
    free = pods("free", 2, requirements(f"{ZONE} In z2", f"{CAPACITY_TYPE} In spot"), cpu=1, **WEB)
    found = plan(snapshot([*free, following], types=(SMALL,), nodes=[there]))
    assert by(ZONE, found) == {"z2": 3}
    assert len(found.purchases) == 2


def test_no_pod_is_the_first_on_a_node_where_others_of_the_kind_can_not_be() -> None:
    free = pod("free", f"{CAPACITY_TYPE} In spot", cpu=1, **WEB)
    alone = pod("alone", f"{CAPACITY_TYPE} In on-demand", cpu=1, **near(HOSTNAME))
    found = plan(snapshot([free, alone], types=(SMALL,)))
    assert why(found, "alone").startswith("PodAffinity: ")


def test_a_pod_that_others_follow_and_that_may_be_anywhere_goes_first() -> None:
    """Though it is important that the others keep away from one another."""
    following = pods("a", 2, cpu=1, **near(ZONE, apart=(PodTerm(HOSTNAME, selecting()),)))
    found = plan(snapshot([*following, pod("free", f"{ZONE} In z2", cpu=1, **WEB)], types=(SMALL,)))
    assert by(ZONE, found) == {"z2": 3}


def test_pod_affinity_asks_for_pods_that_all_of_its_terms_select() -> None:
    nodes = [node("n1", cpu=1, labels={ZONE: "z1"}), node("n2", cpu=1, labels={ZONE: "z2"})]
    one = running("one", "n1", cpu=1, labels={"app": "web"})
    both = running("both", "n2", cpu=1, labels={"app": "web", "tier": "front"})
    tier = PodSelector(Requirements.from_labels({"tier": "front"}), frozenset({"default"}))
    follower = pod("a", cpu=1, near=(PodTerm(ZONE, selecting()), PodTerm(CAPACITY_TYPE, tier)))
    labelled = [replace(each, labels={**each.labels, CAPACITY_TYPE: "spot"}) for each in nodes]
    found = plan(snapshot([one, both, follower], types=(SMALL,), nodes=labelled))
    assert by(ZONE, found) == {"z2": 1}
    assert "a" in plan(snapshot([one, follower], types=(SMALL,), nodes=labelled)).unplaced


def test_nodes_without_a_label_of_some_constraint_count_for_none() -> None:
    nodes = [node("n1", cpu=1, labels={ZONE: "z1"}), node("n2", cpu=1, labels={ZONE: "z2", "rack": "r1"})]
    there = [running("r1", "n1", cpu=1, **WEB), running("r2", "n2", cpu=1, **WEB)]
    racks = pool("default", "rack In r1", f"{ZONE} In z1 z2")
    both = (Spread(ZONE, selecting()), Spread("rack", selecting()))
    found = plan(snapshot([*there, pod("a", cpu=1, **WEB, spread=both)], types=(SMALL,), pools=[racks], nodes=nodes))
    assert by(ZONE, found) == {"z1": 1}


def test_a_domain_that_is_bought_for_others_counts() -> None:
    """The node in z3 is a domain with no pod of the kind, so that no other may have more than one above it."""
    ignoring = pods("a", 4, f"{ZONE} In z1 z2", cpu=1, **spread(honor_affinity=False))
    elsewhere = pod("b", f"{ZONE} In z3", cpu=1)
    assert by(ZONE, plan(snapshot(ignoring, types=(SMALL,)))) == {"z1": 2, "z2": 2}
    found = plan(snapshot([*ignoring, elsewhere], types=(SMALL,)))
    assert by(ZONE, found) == {"z1": 1, "z2": 1, "z3": 1}
    assert len(found.unplaced) == 2


def test_pods_count_only_where_the_node_policies_let_them() -> None:
    large = machine("large", "size In large", cpu=2, price=0.2, zones=ZONES)
    small = machine("small", "size In small", cpu=2, price=0.1, zones=ZONES)
    counted = pods("small", 3, "size In small", cpu=2, **WEB)
    counting = pods("large", 3, "size In large", cpu=2, **spread())
    found = plan(snapshot([*counted, *counting], types=(small, large)))
    on_large = [each for each in found.purchases if each.candidates[0][0] == "large"]
    assert {each.requirements.allowed(ZONE).single for each in on_large} == set(ZONES)


def test_who_is_only_counted_goes_where_it_is_cheapest() -> None:
    cheap = machine("cheap", cpu=2, price=0.1, zones=("z1",))
    dear = machine("dear", cpu=2, price=0.3, zones=("z2", "z3"))
    counted = pods("b", 6, cpu=2, **WEB)
    alone = plan(snapshot(counted, types=(cheap, dear)))
    beside = plan(snapshot([*counted, *pods("a", 1, f"{ZONE} In z2", cpu=2, **spread())], types=(cheap, dear)))
    assert not beside.unplaced
    assert beside.cost == pytest.approx(alone.cost + 0.3)


def test_pods_that_follow_others_onto_their_nodes_get_room_beside_each_of_them() -> None:
    hosts = pods("host", 2, cpu=1, **apart(HOSTNAME))
    following = [pod(f"f-{n}", cpu=4, near=(PodTerm(HOSTNAME, selecting()),)) for n in range(6)]
    found = plan(snapshot([*hosts, *following], types=(SMALL, LARGE)))
    assert not found.unplaced
    assert len(found.purchases) == 2


def test_a_pod_that_must_share_a_node_is_told_the_domains_of_the_one_that_it_follows() -> None:
    host = pod("host", f"{ZONE} In z3", cpu=1, **WEB)
    evenly = {"labels": {"app": "f"}, "spread": (Spread(ZONE, selecting("f")),)}
    follower = pod("f", cpu=1, near=(PodTerm(HOSTNAME, selecting()),), **evenly)
    found = plan(snapshot([host, follower], types=(SMALL, LARGE)))
    assert [sorted(purchase.pods) for purchase in found.purchases] == [["f", "host"]]


def test_pods_keep_apart_where_nodes_have_no_such_label_for_there_are_no_domains() -> None:
    found = plan(snapshot(pods("a", 2, cpu=1, **apart("rack")), types=(SMALL,)))
    assert [len(purchase.pods) for purchase in found.purchases] == [2]


def test_a_label_that_a_pool_only_says_is_there_is_one_domain() -> None:
    racks = pool("default", "rack Exists")
    found = plan(snapshot(pods("a", 2, cpu=1, **apart("rack")), types=(SMALL,), pools=[racks]))
    assert [len(purchase.pods) for purchase in found.purchases] == [1]
    assert why(found, "a-001").startswith("PodAntiAffinity: ")
    assert not plan(snapshot(pods("a", 2, cpu=1, **spread("rack")), types=(SMALL,), pools=[racks])).unplaced


def test_a_preference_never_buys_a_node_where_there_is_room() -> None:
    there = node("n1", cpu=2, labels={ZONE: "z1"})
    liking = pod("a", cpu=1, preferences=Preferences(nodes=((100, requirements(f"{ZONE} In z3")),)))
    assert plan(snapshot([liking], types=(SMALL,), nodes=[there])).placements == {"a": "n1"}


def test_a_pod_that_no_node_can_hold_is_told_so_and_not_about_domains() -> None:
    found = plan(snapshot([pod("a", cpu=99, **spread())], types=(SMALL,)))
    assert why(found, "a").startswith("InsufficientResources: ")


def test_a_pod_that_needs_a_domain_does_not_go_to_a_node_that_is_in_none() -> None:
    found = plan(snapshot([pod("a", cpu=1, **near(ZONE))], pools=[], nodes=[node("n1")]))
    assert not found.placements
    assert why(found, "a").startswith("TopologySpread: no node that would do has")
