from __future__ import annotations

import pytest

from autonodes.core.explanation import UnknownObjectError, explain_claim, explain_node, explain_pod
from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE, ZONE
from autonodes.core.model import Snapshot, Taint
from autonodes.core.recording import Recording
from core.parts import claim, machine, node, pod, pool, ready_node, requirements, running, snapshot

SMALL, LARGE = machine("small", cpu=2, price=0.1), machine("large", cpu=8, memory="32Gi", price=0.4)
UNPRICED, SOLD_OUT = machine("unpriced", cpu=64, price=None), machine("gone", cpu=64, price=1.0, available=False)
LABELS = {INSTANCE_TYPE: "large", ZONE: "z1", CAPACITY_TYPE: "on-demand"}


def recorded(of: Snapshot, **fields: object) -> Recording:
    return Recording(snapshot=of, **fields)  # type: ignore[arg-type]


def test_each_instance_type_says_what_rules_it_out() -> None:
    types = [SMALL, LARGE, UNPRICED, SOLD_OUT]
    found = explain_pod(recorded(snapshot([pod("a", cpu=16)], types=types)), "default", "a")
    assert found.state == "Waiting"
    assert found.because.startswith("no node can take it and none can be bought: default: ")
    (section,) = found.sections
    assert section.title == "NodePool default (4 instance types)"
    assert section.lines == (
        "2  too small: cpu 16: small, large",
        "1  no price is known for it: unpriced",
        "1  not available now: gone",
    )


def test_labels_that_do_not_match_are_named() -> None:
    found = explain_pod(recorded(snapshot([pod("a", f"{ZONE} In z9")], types=[SMALL])), "default", "a")
    assert found.sections[0].lines == (f"1  label does not match: {ZONE} In [z9]: small",)


def test_a_pool_that_excludes_a_type_says_by_which_key() -> None:
    mine = pool("default", f"{ZONE} In z9")
    found = explain_pod(recorded(snapshot([pod("a")], types=[SMALL], pools=[mine])), "default", "a")
    assert found.sections[0].lines == (f"1  the NodePool's own requirements exclude it ({ZONE}): small",)


def test_nodes_say_what_keeps_the_pod_off_them() -> None:
    nodes = [
        node("full", cpu=2),
        node("cordoned", unschedulable=True),
        node("tainted", taints=(Taint("team", "a"),)),
        node("empty", cpu=2),
    ]
    pods = [pod("a", cpu=4), running("b", "full", cpu=1)]
    found = explain_pod(recorded(snapshot(pods, types=[SMALL], nodes=nodes)), "default", "a")
    assert found.sections[0].title == "Nodes (4)"
    assert found.sections[0].lines == (
        "2  too little left: cpu 4: full, empty",
        "1  cordoned: cordoned",
        "1  untolerated taint team=a:NoSchedule: tainted",
    )


def test_a_pool_that_was_left_out_is_told() -> None:
    of = recorded(snapshot([pod("a")], types=[], pools=[]), left_out={"gpu": "no answer"})
    assert [(each.title, each.lines) for each in explain_pod(of, "default", "a").sections] == [
        ("NodePool gpu", ("left out: no answer",))
    ]


def test_a_limit_is_told_where_types_would_do() -> None:
    mine = pool("default", limits={"nodes": 0})
    found = explain_pod(recorded(snapshot([pod("a")], types=[SMALL], pools=[mine])), "default", "a")
    assert found.sections[0].lines[0].startswith("1  limit exceeded (")


@pytest.mark.parametrize(
    ("fields", "state", "says"),
    [
        ({"node_name": "n1", "phase": "Running"}, "Running", "it is on node n1"),
        ({"gated": True}, "SchedulingGated", "scheduling gates"),
        ({"deleted_at": 1.0}, "Deleting", "being deleted"),
        ({"unschedulable": False}, "Waiting", "kube-scheduler has not tried"),
        ({"owner_kind": "DaemonSet"}, "Waiting", "belongs to a DaemonSet"),
        ({}, "Planned", "a node will be bought for it: small (z1, on-demand) at $0.1000/h"),
    ],
)
def test_a_pod_that_does_not_wait_in_vain_says_how_it_is(fields: dict[str, object], state: str, says: str) -> None:
    found = explain_pod(recorded(snapshot([pod("a", **fields)], types=[SMALL])), "default", "a")
    assert found.state == state
    assert says in found.because


def test_a_pod_with_a_place_says_where() -> None:
    found = explain_pod(recorded(snapshot([pod("a", cpu=1)], nodes=[node("n1")])), "default", "a")
    assert found.because == "it will go to n1: there is room for it"


def test_a_node_says_what_it_was_bought_for_and_why_no_cheaper_type_was() -> None:
    mine, behind = ready_node("n1", cpu=8, memory="32Gi", labels=LABELS)
    decided = requirements(f"{INSTANCE_TYPE} In large")
    behind = claim("n1", node_name="n1", initialized=True, requirements=decided, requests={"cpu": 4000, "pods": 1})
    of = recorded(snapshot([running("b", "n1", cpu=4)], types=[SMALL, LARGE], nodes=[mine], claims=[behind]))
    found = explain_node(of, "n1")
    why = "it is kept: 1 pod on it: default/b; its pods would cost as much elsewhere"
    assert (found.state, found.because) == ("InUse", why)
    assert {section.title: section.lines for section in found.sections} == {
        "What it is": ("large in z1, on-demand, of NodePool default", "$0.4000 an hour"),
        "Why it was bought": ("for pods and daemons that request cpu 4, pods 1",),
        "Cheaper instance types (1)": ("1  too small: cpu 4: small",),
        "Pods that keep it (1)": ("default/b",),
    }


def test_an_empty_node_says_since_when() -> None:
    mine, behind = ready_node("n1", labels=LABELS)
    found = explain_node(recorded(snapshot(types=[LARGE], nodes=[mine], claims=[behind])), "n1")
    assert found.state == "Empty"
    assert found.because.startswith("it can be given back: nothing but daemons on it")


def test_a_claim_in_flight_says_how_far_it_is() -> None:
    of = recorded(snapshot(types=[SMALL], claims=[claim("c1"), claim("c2", launched=False)]))
    assert explain_claim(of, "c1").state == "Registering"
    assert explain_claim(of, "c2").state == "Launching"


def test_a_node_that_nobody_bought_here_stays() -> None:
    assert "no NodeClaim stands behind it" in explain_node(recorded(snapshot(nodes=[node("n1")])), "n1").because


def test_what_is_not_there_is_named_as_kubectl_does() -> None:
    of = recorded(snapshot())
    with pytest.raises(UnknownObjectError, match=r'^pod "x" not found in namespace "default"$'):
        explain_pod(of, "default", "x")
    with pytest.raises(UnknownObjectError, match=r'^node "x" not found$'):
        explain_node(of, "x")
    with pytest.raises(UnknownObjectError, match=r'^nodeclaim "x" not found$'):
        explain_claim(of, "x")
