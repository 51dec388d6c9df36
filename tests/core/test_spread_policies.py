"""Whom and where constraints between pods count: node policies of a spread, label keys of spread and affinity.

From a pod's JSON to the plan, since label keys mean the pod's own values.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from autonodes.core.labels import HOSTNAME, ZONE
from autonodes.core.model import InstanceType, Node, NodePool, Plan, Pod, Taint
from autonodes.core.planner import plan
from autonodes.kube.decoding import decode_pod
from core.parts import machine, node, pool, requirements, snapshot

WEB = {"matchLabels": {"app": "web"}}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
CHEAP_IN_Z2 = (
    machine("near", f"{ZONE} In z1", cpu=2, price=0.2, zones=["z1"]),
    machine("far", f"{ZONE} In z2", cpu=2, price=0.1, zones=["z2"]),
)


def web(name: str, *, on: str = "", labels: dict[str, str] | None = None, **spec: Any) -> Pod:
    container = {"name": "main", "resources": {"requests": {"cpu": "500m"}}}
    body = {
        "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": "web", **(labels or {})}},
        "spec": {"containers": [container], "nodeName": on, **spec},
        "status": {"phase": "Running" if on else "Pending", "conditions": [] if on else [UNSCHEDULABLE]},
    }
    return decode_pod(msgspec.json.encode(body))


def spread(key: str = ZONE, **fields: Any) -> dict[str, Any]:
    constraint = {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": WEB}
    return {"topologySpreadConstraints": [{**constraint, **fields}]}


def affinity(kind: str, key: str, **fields: Any) -> dict[str, Any]:
    return {"affinity": {kind: {REQUIRED: [{"topologyKey": key, "labelSelector": WEB, **fields}]}}}


def in_zone(zone: str, **fields: Any) -> Node:
    return node(f"n-{zone}", cpu=4, labels={ZONE: zone, HOSTNAME: f"n-{zone}"}, **fields)


def planned(*pods: Pod, nodes: tuple[Node, ...] = (), types: tuple[InstanceType, ...] = (), pools: Any = None) -> Plan:
    return plan(snapshot(pods, nodes=nodes, types=types, pools=pools))


def zones(found: Plan) -> dict[str, str | None]:
    """Of the pods for which nodes are bought."""
    return {str(uid): each.requirements[ZONE].single for each in found.purchases for uid in each.pods}


@pytest.mark.parametrize(("policy", "placed"), [("Honor", True), ("Ignore", False), (None, False)])
def test_domains_of_taints_that_the_pod_does_not_tolerate_count_unless_they_are_honoured(
    policy: str | None, placed: bool
) -> None:
    """In the tainted zone is none of the kind, so that the others have one too many."""
    nodes = in_zone("z1"), in_zone("z2"), in_zone("z3", taints=(Taint("gpu"),))
    there = web("old-1", on="n-z1"), web("old-2", on="n-z2")
    given = {} if policy is None else {"nodeTaintsPolicy": policy}
    found = planned(*there, web("a", **spread(**given)), nodes=nodes)
    assert bool(found.placements) is placed
    if not placed:
        (reason,) = found.unplaced[next(iter(found.unplaced))]
        assert "maxSkew 1" in reason.text


@pytest.mark.parametrize(("policy", "placed"), [("Honor", True), ("Ignore", False), (None, True)])
def test_domains_that_the_pod_s_affinity_rules_out_count_only_if_it_is_ignored(
    policy: str | None, placed: bool
) -> None:
    nodes = in_zone("z1"), in_zone("z2")
    given = {} if policy is None else {"nodeAffinityPolicy": policy}
    kept = web("a", nodeSelector={ZONE: "z1"}, **spread(**given))
    found = planned(web("old", on="n-z1"), kept, nodes=nodes)
    assert dict(found.placements) == ({"a": "n-z1"} if placed else {})


def test_pods_on_nodes_that_are_not_let_in_do_not_count() -> None:
    """Two of the kind are in the zone, on a node whose taint this pod does not tolerate."""
    tainted = node("tainted", cpu=4, labels={ZONE: "z1", HOSTNAME: "tainted"}, taints=(Taint("gpu"),))
    nodes = in_zone("z1"), in_zone("z2"), tainted
    there = web("old-1", on="tainted"), web("old-2", on="tainted"), web("old-3", on="n-z2")
    honouring = planned(*there, web("a", **spread(nodeTaintsPolicy="Honor")), nodes=nodes)
    assert dict(honouring.placements) == {"a": "n-z1"}
    ignoring = planned(*there, web("a", **spread(nodeTaintsPolicy="Ignore")), nodes=nodes)
    assert dict(ignoring.placements) == {"a": "n-z2"}


def test_what_could_be_bought_with_an_untolerated_taint_is_no_domain_for_the_pod() -> None:
    types = (machine("m", cpu=1, price=0.1, zones=["z1", "z2", "z3"]),)
    pools = [
        pool("open", f"{ZONE} In z1 z2"),
        NodePool(name="gpu", requirements=requirements(f"{ZONE} In z3"), taints=(Taint("gpu"),)),
    ]
    waiting = [web(f"a-{number}", **spread(nodeTaintsPolicy="Honor")) for number in range(4)]
    found = planned(*waiting, types=types, pools=pools)
    assert sorted(str(zone) for zone in zones(found).values()) == ["z1", "z1", "z2", "z2"]


@pytest.mark.parametrize(("keys", "expected"), [(["revision"], {"z1": 1, "z2": 1}), (["missing"], {"z2": 2})])
def test_a_rollout_spreads_by_itself_where_the_revision_is_a_match_label_key(
    keys: list[str], expected: dict[str, int]
) -> None:
    """Of the old revision two run in the first zone. A key that the pod does not have is passed over."""
    nodes = in_zone("z1"), in_zone("z2")
    old = [web(f"old-{number}", on="n-z1", labels={"revision": "1"}) for number in range(2)]
    new = [web(f"new-{n}", labels={"revision": "2"}, **spread(matchLabelKeys=keys)) for n in range(2)]
    found = planned(*old, *new, nodes=nodes)
    counts = {zone: list(found.placements.values()).count(f"n-{zone}") for zone in ("z1", "z2")}
    assert {zone: count for zone, count in counts.items() if count} == expected


@pytest.mark.parametrize(("keys", "zone"), [([], "z1"), (["revision"], "z2")])
def test_pods_of_a_new_revision_need_not_follow_the_old_one(keys: list[str], zone: str) -> None:
    """It is the first of its own kind then, and goes where it is cheapest."""
    full = node("n-z1", cpu="500m", labels={ZONE: "z1", HOSTNAME: "n-z1"})
    old = web("old", on="n-z1", labels={"revision": "1"})
    new = web("new", labels={"revision": "2"}, **affinity("podAffinity", ZONE, matchLabelKeys=keys))
    assert zones(planned(old, new, nodes=(full,), types=CHEAP_IN_Z2)) == {"new": zone}


def test_a_replacement_may_share_the_node_of_the_old_revision_that_its_own_kind_avoids() -> None:
    there = in_zone("z1")
    old = web("old", on="n-z1", labels={"revision": "1"})
    terms = affinity("podAntiAffinity", HOSTNAME, matchLabelKeys=["revision"])
    new = [web(f"new-{number}", labels={"revision": "2"}, **terms) for number in range(2)]
    found = planned(old, *new, nodes=(there,), types=(machine("m", cpu=2),))
    assert list(found.placements.values()) == ["n-z1"]
    assert [len(each.pods) for each in found.purchases] == [1]


def test_tenants_get_nodes_of_their_own_by_a_mismatched_label_key() -> None:
    """Pods of one tenant share, those of two keep apart; one that runs keeps the others out of its node."""
    terms = affinity("podAntiAffinity", HOSTNAME, mismatchLabelKeys=["tenant"])
    running = web("old", on="n-z1", labels={"tenant": "x"}, **terms)
    waiting = [web(f"{tenant}-{n}", labels={"tenant": tenant}, **terms) for tenant in "xyz" for n in range(2)]
    found = planned(running, *waiting, nodes=(in_zone("z1"),), types=(machine("m", cpu=8),))
    assert set(found.placements) == {"x-0", "x-1"}
    assert sorted(sorted(map(str, each.pods)) for each in found.purchases) == [["y-0", "y-1"], ["z-0", "z-1"]]


def test_a_selector_that_selects_everything_counts_nothing_in_a_spread() -> None:
    """kube-scheduler's ``countPodsMatchSelector``: an empty selector has no pods, so no zone has too many."""
    nodes = in_zone("z1"), in_zone("z2")
    there = web("old-1", on="n-z1"), web("old-2", on="n-z1")
    kept = web("a", nodeSelector={ZONE: "z1"}, **spread(labelSelector={}, nodeAffinityPolicy="Ignore"))
    assert dict(planned(*there, kept, nodes=nodes).placements) == {"a": "n-z1"}
