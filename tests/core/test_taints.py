from dataclasses import replace
from typing import Any

import pytest

from autonodes.core.labels import UNREGISTERED_TAINT
from autonodes.core.model import Taint, Toleration
from autonodes.core.planner import plan
from autonodes.core.taints import ephemeral, format_taint, lasting, tolerates, untolerated
from core.parts import machine, node, pod, pods, pool, snapshot

GPU = Taint("gpu", "yes")


@pytest.mark.parametrize(
    ("toleration", "taint", "expected"),
    [
        (Toleration("gpu", "Equal", "yes"), GPU, True),
        (Toleration("gpu", "", "yes"), GPU, True),
        (Toleration("gpu", "Equal", "no"), GPU, False),
        (Toleration("gpu", "Exists"), GPU, True),
        (Toleration("", "Exists"), GPU, True),
        (Toleration("", "Equal", "yes"), GPU, False),
        (Toleration("tpu", "Exists"), GPU, False),
        (Toleration("gpu", "Exists", "", "NoSchedule"), GPU, True),
        (Toleration("gpu", "Exists", "", "NoExecute"), GPU, False),
        (Toleration("sla", "Gt", "900"), Taint("sla", "950"), True),
        (Toleration("sla", "Gt", "900"), Taint("sla", "900"), False),
        (Toleration("sla", "Lt", "900"), Taint("sla", "800"), True),
        (Toleration("sla", "Lt", "900"), Taint("sla", "word"), False),
        (Toleration("gpu", "Is", "yes"), GPU, False),
    ],
)
def test_a_toleration_matches_by_the_rules_of_the_scheduler(
    toleration: Toleration, taint: Taint, expected: bool
) -> None:
    assert tolerates(toleration, taint) == expected


def test_only_hard_taints_keep_a_pod_away() -> None:
    soft = Taint("soft", "", "PreferNoSchedule")
    assert untolerated([soft], []) is None
    assert untolerated([soft, GPU], []) == GPU
    assert untolerated([Taint("x", "", "NoExecute")], [Toleration("gpu", "Exists")]) == Taint("x", "", "NoExecute")


@pytest.mark.parametrize("key", [UNREGISTERED_TAINT, "node.kubernetes.io/not-ready", "readiness.k8s.io/network"])
def test_taints_of_a_starting_node_pass(key: str) -> None:
    assert ephemeral(Taint(key))
    assert lasting([Taint(key, "", "NoExecute"), GPU, Taint("boot")], [Taint("boot")]) == (GPU,)


def test_a_taint_is_written_as_kubectl_writes_it() -> None:
    assert format_taint(GPU) == "gpu=yes:NoSchedule"
    assert format_taint(Taint("gpu")) == "gpu:NoSchedule"


SOFT = Taint("soft", "", "PreferNoSchedule")
CHEAP, DEAR = machine("cheap", "kind In cheap", price=0.1), machine("dear", "kind In dear", price=0.3)
AVOIDED, OTHER = pool("avoided", "kind In cheap", taints=(SOFT,)), pool("other", "kind In dear")


def bought_from(**fields: Any) -> set[str]:
    fields = {"pools": [AVOIDED, OTHER], "waiting": pods("a", 3, cpu=1), **fields}
    found = plan(snapshot(fields.pop("waiting"), types=(CHEAP, DEAR), **fields))
    assert not found.unplaced
    return {purchase.pool for purchase in found.purchases}


def test_a_pool_that_pods_would_rather_avoid_is_the_last_choice() -> None:
    assert bought_from() == {"other"}
    assert bought_from(preference_policy="Ignore") == {"avoided"}
    assert bought_from(waiting=pods("a", 3, cpu=1, tolerations=(Toleration("soft", "Exists"),))) == {"avoided"}


def test_a_pool_that_pods_would_rather_avoid_is_better_than_none() -> None:
    assert bought_from(pools=[AVOIDED]) == {"avoided"}
    assert bought_from(waiting=pods("a", 3, "kind In cheap", cpu=1)) == {"avoided"}
    assert bought_from(pools=[AVOIDED, replace(OTHER, limits={"nodes": 1})]) == {"avoided", "other"}


def test_a_cheaper_packing_does_not_go_where_pods_would_rather_not() -> None:
    patient = [replace(each, planning_deadline=5.0) for each in (AVOIDED, OTHER)]
    assert bought_from(pools=patient) == {"other"}


def test_nodes_that_pods_would_rather_avoid_are_the_last_choice_but_cost_less_than_new_ones() -> None:
    nodes = [node("n1", cpu=1, taints=(SOFT,)), node("n2", cpu=1)]
    found = plan(snapshot([pod("a", cpu=1)], types=(CHEAP, DEAR), nodes=nodes))
    assert found.placements == {"a": "n2"}
    found = plan(snapshot(pods("a", 2, cpu=1), types=(CHEAP, DEAR), nodes=nodes))
    assert set(found.placements.values()) == {"n1", "n2"}
