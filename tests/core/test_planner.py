"""What is bought, for small clusters whose best answer is plain to see."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from autonodes.core.labels import ARCH, CAPACITY_TYPE, EXPENDABLE, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.model import HostPort, InstanceType, Plan, Pod, PodUID, Reason, Taint, Toleration
from autonodes.core.planner import place, plan
from core.parts import (
    GPU,
    claim,
    daemonset,
    machine,
    node,
    pod,
    pods,
    pool,
    ready_node,
    requirements,
    running,
    snapshot,
)

SMALL = machine("small", cpu=2, memory="4Gi", price=0.1)
LARGE = machine("large", cpu=8, memory="16Gi", price=0.39)
EXPENDABLE_POD = {"annotations": {EXPENDABLE: "true"}}


def bought(found: Plan) -> list[str]:
    """The cheapest type of each purchase."""
    return sorted(purchase.candidates[0][0] for purchase in found.purchases)


def why(found: Plan, name: str) -> Reason:
    """The first reason."""
    return found.unplaced[PodUID(name)][0]


BARGAINS: list[tuple[str, Sequence[InstanceType], list[Pod], list[str]]] = [
    ("one pod takes the smallest machine", (SMALL, LARGE), pods("a", 1, cpu=1), ["small"]),
    ("many pods take the machine that is cheapest for them", (SMALL, LARGE), pods("a", 8, cpu=1), ["large"]),
    ("the rest takes a smaller one", (SMALL, LARGE), pods("a", 10, cpu=1), ["large", "small"]),
    (
        "small machines win where they cost less for each pod",
        (SMALL, machine("dear", cpu=8, memory="16Gi", price=0.41)),
        pods("a", 8, cpu=1),
        ["small"] * 4,
    ),
    (
        "two 1-GPU pods don't buy a 4-GPU machine",
        (
            machine("gpu-1", cpu=8, memory="32Gi", gpu=1, price=1.0),
            machine("gpu-4", cpu=32, memory="128Gi", gpu=4, price=4.5),
        ),
        pods("a", 2, cpu=1, gpu=1),
        ["gpu-1", "gpu-1"],
    ),
    (
        "no machine with a GPU for pods without, even if it is cheaper",
        (SMALL, machine("gpu-1", cpu=8, memory="32Gi", gpu=1, price=0.05)),
        pods("a", 2, cpu=1),
        ["small"],
    ),
    (
        "a machine with a GPU where there is no other",
        (machine("gpu-1", cpu=8, memory="32Gi", gpu=1, price=0.5),),
        pods("a", 2, cpu=1),
        ["gpu-1"],
    ),
    (
        "pods of opposite shapes share",
        (machine("even", cpu=8, memory="16Gi", price=0.4),),
        [*pods("cpu", 2, cpu="3500m", memory="512Mi"), *pods("mem", 2, cpu="500m", memory="7Gi")],
        ["even"],
    ),
    ("pods without requests need a node as well", (SMALL, LARGE), pods("a", 3), ["small"]),
    ("the number of pods of a node is limited", (machine("tiny", cpu=2, pods=2),), pods("a", 5), ["tiny"] * 3),
    ("what is free costs nothing", (machine("free", cpu=1, price=0.0), SMALL), pods("a", 2, cpu=1), ["free", "free"]),
]


@pytest.mark.parametrize(
    ("types", "waiting", "expected"), [case[1:] for case in BARGAINS], ids=[case[0] for case in BARGAINS]
)
def test_the_cheapest_machines_are_bought(
    types: Sequence[InstanceType], waiting: list[Pod], expected: list[str]
) -> None:
    found = plan(snapshot(waiting, types=types))
    assert bought(found) == expected
    assert not found.unplaced


def test_a_purchase_lists_all_that_will_do_cheapest_first() -> None:
    spotted = machine("small", cpu=2, price=0.1, zones=("z1", "z2"), capacity_types=("on-demand",))
    (purchase,) = plan(snapshot([pod("a", cpu=1)], types=(LARGE, spotted))).purchases
    assert purchase.candidates == (
        ("small", "z1", "on-demand", 0.1),
        ("small", "z2", "on-demand", 0.1),
        ("large", "z1", "on-demand", 0.39),
    )
    assert purchase.price == 0.1
    assert purchase.requests == {"cpu": 1000, "pods": 1}


def test_the_claim_says_what_its_node_may_be() -> None:
    types = (
        machine("arm", f"{ARCH} In arm64", cpu=2, price=0.05),
        machine("amd", f"{ARCH} In amd64", cpu=2, price=0.1),
    )
    wanted = pod("a", f"{ARCH} In amd64", cpu=1)
    teams = pool("default", "team In a b", f"{CAPACITY_TYPE} Exists")
    (purchase,) = plan(snapshot([wanted], types=types, pools=[teams])).purchases
    assert purchase.requirements == requirements(
        "team In a b",
        f"{ARCH} In amd64",
        f"{INSTANCE_TYPE} In amd",
        f"{ZONE} In z1",
        f"{CAPACITY_TYPE} In on-demand",
        f"{NODE_POOL} In default",
    )


def test_a_claim_names_at_most_sixty_types_the_cheapest() -> None:
    types = [machine(f"type-{number:03}", cpu=2, price=1 + number, zones=("z1", "z2")) for number in range(100)]
    (purchase,) = plan(snapshot([pod("a", cpu=1)], types=types)).purchases
    assert [name for name, zone, *_ in purchase.candidates if zone == "z1"] == [f"type-{n:03}" for n in range(60)]


def test_a_claim_never_allows_a_combination_that_its_pods_refuse() -> None:
    """Type a in zone 1 or type b in zone 2: a claim that named both types and zones would also allow a in zone 2."""
    types = (machine("a", cpu=2, zones=("z1", "z2")), machine("b", cpu=2, zones=("z1", "z2")))
    either = (
        requirements(f"{INSTANCE_TYPE} In a", f"{ZONE} In z1"),
        requirements(f"{INSTANCE_TYPE} In b", f"{ZONE} In z2"),
    )
    (purchase,) = plan(snapshot([pod("p", *either, cpu=1)], types=types)).purchases
    assert purchase.candidates == (("a", "z1", "on-demand", 0.1),)


@pytest.mark.parametrize("fault", [{"price": None}, {"available": False}])
def test_what_has_no_price_or_is_not_available_is_not_bought(fault: dict[str, bool | None]) -> None:
    found = plan(snapshot([pod("a", cpu=1)], types=(machine("cheap", cpu=2, **fault), LARGE)))
    assert [name for name, *_ in found.purchases[0].candidates] == ["large"]


def test_daemons_take_their_share_of_each_machine_that_they_run_on() -> None:
    agent = daemonset("agent", cpu="1500m")
    only_arm = daemonset("arm-agent", f"{ARCH} In arm64", cpu=2)
    tolerant = daemonset("gpu-agent", cpu="100m", tolerations=(Toleration("gpu", "Exists"),))
    typed = machine("small", f"{ARCH} In amd64", cpu=2), machine("large", f"{ARCH} In amd64", cpu=8, price=0.39)
    found = plan(snapshot([pod("a", cpu=1)], types=typed, daemonsets=(agent, only_arm, tolerant)))
    assert bought(found) == ["large"]
    assert found.purchases[0].requests == {"cpu": 2600, "pods": 3}


def test_a_daemon_with_a_host_port_keeps_pods_off_that_port() -> None:
    agent = daemonset("agent", host_ports=(HostPort(80),))
    found = plan(snapshot([pod("a", host_ports=(HostPort(80),))], types=(SMALL,), daemonsets=(agent,)))
    assert not found.purchases
    assert why(found, "a").code == "HostPortConflict"


def test_pods_with_the_same_host_port_get_a_node_each() -> None:
    found = plan(snapshot(pods("a", 3, host_ports=(HostPort(80),)), types=(SMALL,)))
    assert bought(found) == ["small"] * 3


def test_the_pool_of_the_greatest_weight_comes_first_and_among_equals_the_price_decides() -> None:
    heavy, light, other = pool("heavy", "tier In a", weight=10), pool("light", "tier In b"), pool("other", "tier In b")
    cluster = snapshot([pod("a", cpu=1)], pools=(light, other, heavy))
    on_sale = {"heavy": (LARGE,), "light": (LARGE,), "other": (SMALL,)}
    assert plan(replace(cluster, instance_types=on_sale)).purchases[0].pool == "heavy"
    cluster = snapshot([pod("a", "tier In b", cpu=1)], pools=(light, other, heavy))
    assert plan(replace(cluster, instance_types=on_sale)).purchases[0].pool == "other"


def test_pods_of_different_pools_labels_don_t_share_a_node() -> None:
    teams = pool("default", "team In a b")
    found = plan(
        snapshot(
            [pod("x", "team In a"), pod("y", "team In b"), pod("z", "team NotIn a")], types=(SMALL,), pools=[teams]
        )
    )
    shared = sorted(sorted(purchase.pods) for purchase in found.purchases)
    assert shared == [["x"], ["y", "z"]]


def test_a_pod_that_could_go_anywhere_uses_what_a_choosy_one_leaves() -> None:
    dear = machine("dear", "disk In ssd", cpu=4, price=0.9)
    found = plan(snapshot([pod("any", cpu=1), pod("choosy", "disk In ssd", cpu=1)], types=(SMALL, dear)))
    assert bought(found) == ["dear"]


def test_tainted_pools_are_for_pods_that_tolerate_startup_taints_aside() -> None:
    gpu = pool("gpu", taints=(Taint("gpu"),), startup_taints=(Taint("boot"),))
    tolerant = pod("yes", tolerations=(Toleration("gpu", "Exists"),))
    found = plan(snapshot([pod("no"), tolerant], types=(SMALL,), pools=[gpu]))
    assert [purchase.pods for purchase in found.purchases] == [("yes",)]
    assert why(found, "no").text == "did not tolerate taint (taint=gpu:NoSchedule)"


NOT_PLANNED = [
    {"node_name": "n1", "phase": "Running"},
    {"gated": True},
    {"deleted_at": 1.0},
    {"unschedulable": False},
    {"owner_kind": "DaemonSet"},
    {"owner_kind": "Node"},
    {"phase": "Succeeded"},
]


@pytest.mark.parametrize("fields", NOT_PLANNED, ids=str)
def test_nothing_is_bought_for_a_pod_that_does_not_wait_for_a_node(fields: dict[str, object]) -> None:
    assert plan(snapshot([pod("a", cpu=1, **fields)], types=(SMALL,))) == Plan()


def test_a_pod_at_fault_is_reported_and_the_others_are_planned_all_the_same() -> None:
    broken = pod("broken", cpu=1, fault="spec.nodeSelector: 'x': can't be")
    found = plan(snapshot([broken, pod("fine", cpu=1)], types=(SMALL,)))
    assert [purchase.pods for purchase in found.purchases] == [("fine",)]
    assert [(reason.pool, reason.code, reason.text) for reason in found.unplaced[PodUID("broken")]] == [
        ("", "InvalidPod", "spec.nodeSelector: 'x': can't be")
    ]


def test_room_on_nodes_is_used_before_anything_is_bought() -> None:
    present, behind = ready_node("n1", cpu=4)
    waiting = pods("a", 4, cpu=1)
    found = plan(snapshot([*waiting, running("r", "n1", cpu=1)], types=(SMALL,), nodes=[present], claims=[behind]))
    assert sorted(found.placements.values()) == ["n1"] * 3
    assert bought(found) == ["small"]


USELESS_NODES = [
    {"unschedulable": True},
    {"deleted_at": 1.0},
    {"taints": (Taint("gpu"),)},
    {"taints": (Taint("node.kubernetes.io/not-ready"),)},
    {"labels": {ZONE: "z2"}},
    {"cpu": "500m"},
]


@pytest.mark.parametrize("fields", USELESS_NODES, ids=str)
def test_a_node_that_would_not_take_the_pod_is_not_counted_on(fields: dict[str, object]) -> None:
    present, behind = ready_node("n1", **fields)
    found = plan(snapshot([pod("a", f"{ZONE} In z1", cpu=1)], types=(SMALL,), nodes=[present], claims=[behind]))
    assert bought(found) == ["small"]


def test_daemons_that_are_not_on_a_node_yet_keep_their_room() -> None:
    present, behind = ready_node("n1", cpu=2)
    agents = [daemonset("a", cpu="500m"), daemonset("b", cpu=1)]
    there = running("a-1", "n1", cpu="500m", owner_kind="DaemonSet")
    cluster = {"types": (SMALL,), "nodes": [present], "claims": [behind], "daemonsets": agents}
    assert place(snapshot([there, pod("x", cpu="500m")], **cluster)) == {"x": "n1"}
    assert place(snapshot([there, pod("x", cpu="501m")], **cluster)) == {}


def test_a_claim_in_flight_is_not_bought_twice() -> None:
    found = plan(snapshot(pods("a", 2, cpu=1), types=(SMALL,), claims=[claim("c1")]))
    assert found.purchases == ()
    assert set(found.placements.values()) == {"c1"}


def test_a_node_that_has_registered_keeps_its_claim_s_promises() -> None:
    """The GPU is not reported yet, the startup taint still there: both are a matter of time."""
    starting = node(
        "c1", cpu=2, taints=(Taint("boot"), Taint("node.kubernetes.io/not-ready", "", "NoExecute")), ready=False
    )
    behind = claim("c1", node_name="c1", registered=True, startup_taints=(Taint("boot"),))
    promised = {**behind.allocatable, GPU: 1}
    behind = claim("c1", node_name="c1", registered=True, startup_taints=(Taint("boot"),), allocatable=promised)
    assert place(snapshot([pod("a", gpu=1)], nodes=[starting], claims=[behind])) == {"a": "c1"}


def test_a_claim_that_is_not_launched_counts_with_the_least_of_what_it_may_become() -> None:
    types = (machine("a", cpu=2, memory="8Gi"), machine("b", cpu=4, memory="4Gi"), machine("c", cpu=99))
    flying = claim(
        "c1", requirements=requirements(f"{INSTANCE_TYPE} In a b"), launched=False, labels={}, allocatable={}
    )
    cluster = {"types": types, "claims": [flying]}
    assert place(snapshot([pod("x", cpu=2, memory="4Gi")], **cluster)) == {"x": "c1"}
    assert place(snapshot([pod("x", cpu=3)], **cluster)) == {}
    assert place(snapshot([pod("x", f"{INSTANCE_TYPE} In a c", cpu=1)], **cluster)) == {}
    assert place(snapshot([pod("x", f"{INSTANCE_TYPE} NotIn c", cpu=1)], **cluster)) == {"x": "c1"}


def test_promises_are_kept_even_where_another_order_would_place_pods_otherwise() -> None:
    claims = [claim("c1", cpu=2), claim("c2", cpu=3)]
    waiting = [pod("a", cpu=2), pod("b", cpu=1), pod("c", cpu=2)]
    promises = {"a": "c1", "b": "c2", "c": "c2"}
    found = plan(snapshot(waiting, types=(SMALL,), claims=claims, nominations=promises))
    assert found.placements == promises
    assert found.purchases == ()


def test_a_pod_for_which_the_scheduler_preempts_others_is_left_to_it() -> None:
    present, behind = ready_node("n1", cpu=2)
    victim = running("victim", "n1", cpu=2, deleted_at=999.0)
    found = plan(
        snapshot([victim, pod("a", cpu=2, nominated_node="n1")], types=(SMALL,), nodes=[present], claims=[behind])
    )
    assert found.placements == {"a": "n1"}
    assert found.purchases == ()


def test_an_expendable_pod_joins_a_purchase_but_never_makes_one() -> None:
    cheap = pods("cheap", 3, cpu="400m", **EXPENDABLE_POD)
    assert plan(snapshot(cheap, types=(SMALL, LARGE))).purchases == ()
    found = plan(snapshot([*cheap, pod("a", cpu=1)], types=(SMALL, LARGE)))
    assert bought(found) == ["small"]
    assert len(found.purchases[0].pods) == 3
    (left,) = found.unplaced.values()
    assert left[0].code == "Expendable"


def test_an_expendable_pod_takes_no_room_that_would_save_a_purchase() -> None:
    present, behind = ready_node("n1", cpu=2)
    cheap = pod("cheap", cpu=2, priority=100, **EXPENDABLE_POD)
    found = plan(snapshot([cheap, pod("a", cpu=2)], nodes=[present], claims=[behind]))
    assert found.placements == {"a": "n1"}


def test_a_limit_counts_what_is_there_and_in_flight_and_leaving() -> None:
    limited = pool("default", limits={"cpu": 8000})
    present, behind = ready_node("n1", cpu=2)
    claims = [behind, claim("flying"), claim("leaving", deleted_at=999.0)]
    busy = [running("r", "n1", cpu=2), *pods("a", 4, cpu=2)]
    found = plan(snapshot(busy, types=(SMALL,), pools=[limited], nodes=[present], claims=claims))
    assert list(found.placements.values()) == ["flying"]
    assert bought(found) == ["small"]
    reasons = {reasons[0].text for reasons in found.unplaced.values()}
    assert reasons == {"limit exceeded (cpu limit 8, 0 left)"}


def test_a_limit_on_nodes_is_kept() -> None:
    found = plan(snapshot(pods("a", 5, cpu=2), types=(SMALL,), pools=[pool("default", limits={"nodes": 2})]))
    assert bought(found) == ["small", "small"]
    assert "nodes limit 2, 0 left" in next(iter(found.unplaced.values()))[0].text


def test_candidates_that_would_break_the_limit_are_left_out() -> None:
    limited = pool("default", limits={"cpu": 11000})
    found = plan(snapshot(pods("a", 2, cpu=2), types=(SMALL, LARGE), pools=[limited]))
    names = [sorted({name for name, *_ in purchase.candidates}) for purchase in found.purchases]
    assert sorted(names) == [["large", "small"], ["small"]]


def test_when_limits_bind_the_important_pods_come_first() -> None:
    limited = pool("default", limits={"cpu": 4000})
    waiting = [*pods("low", 2, cpu=2), *pods("high", 2, cpu=2, priority=100)]
    found = plan(snapshot(waiting, types=(SMALL,), pools=[limited]))
    assert sorted(uid for purchase in found.purchases for uid in purchase.pods) == ["high-000", "high-001"]


def test_what_a_limited_pool_can_not_take_goes_to_the_next() -> None:
    first, second = pool("first", weight=10, limits={"nodes": 1}), pool("second")
    found = plan(snapshot(pods("a", 3, cpu=2), types=(SMALL,), pools=[first, second]))
    assert sorted(purchase.pool for purchase in found.purchases) == ["first", "second", "second"]


def test_a_pool_that_is_not_ready_buys_nothing() -> None:
    found = plan(snapshot([pod("a")], types=(SMALL,), pools=[pool("default", ready=False)]))
    assert found.purchases == ()
    assert why(found, "a").code == "NodePoolNotReady"


def test_ten_thousand_equal_pods_are_planned_as_one() -> None:
    found = plan(snapshot(pods("a", 10_000, cpu=1, memory="1Gi"), types=(SMALL, LARGE)))
    assert len(found.purchases) == 1250
    assert found.cost == pytest.approx(1250 * 0.39)


def test_purchases_are_in_the_order_of_the_pods_that_opened_them() -> None:
    older = pod("older", f"{ZONE} In z2", cpu=1, created_at=1.0)
    newer = pod("newer", f"{ZONE} In z1", cpu=1, created_at=2.0)
    found = plan(snapshot([newer, older], types=(machine("small", cpu=2, zones=("z1", "z2")),)))
    assert [purchase.pods for purchase in found.purchases] == [("older",), ("newer",)]
