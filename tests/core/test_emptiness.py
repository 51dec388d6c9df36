from __future__ import annotations

import pytest

from autonodes.core.emptiness import Verdict, empty_nodes
from autonodes.core.labels import DO_NOT_DISRUPT, EXPENDABLE, INITIALIZED, NODE_POOL
from autonodes.core.model import Budget, Pod
from core.parts import claim, node, pod, pool, ready_node, running, snapshot

ALL = (Budget(nodes="100%"),)
PATIENT = pool(consolidate_after=30.0, budgets=ALL)


def verdict(
    *pods: Pod, last_event: float | None = 0.0, tried: object = PATIENT, now: float = 1000.0, **fields: object
) -> Verdict:
    """On node ``n1`` of a cluster with nothing else in it."""
    present, behind = ready_node("n1", **fields)
    events = {} if last_event is None else {"n1": last_event}
    (found,) = empty_nodes(snapshot(pods, pools=[tried], nodes=[present], claims=[behind], now=now), events)  # type: ignore[list-item]
    return found


def test_a_node_with_nothing_on_it_can_go() -> None:
    found = verdict(last_event=900.0)
    assert found.removable
    assert (found.node, found.claim, found.pool, found.since) == ("n1", "n1", "default", 900.0)
    assert found.text == "nothing but daemons on it for 1m40s"


HOLDS_NOTHING = [
    {"owner_kind": "DaemonSet"},
    {"owner_kind": "Node"},
    {"phase": "Succeeded"},
    {"phase": "Failed"},
    {"annotations": {EXPENDABLE: "true"}},
    {"deleted_at": 900.0},
]


@pytest.mark.parametrize("fields", HOLDS_NOTHING, ids=str)
def test_what_need_not_run_elsewhere_does_not_hold_a_node(fields: dict[str, object]) -> None:
    assert verdict(running("a", "n1", **fields)).removable


@pytest.mark.parametrize("fields", [{}, {"deleted_at": 1020.0}, {"deleted_at": 990.0}], ids=str)
def test_a_pod_holds_its_node_until_it_is_gone(fields: dict[str, object]) -> None:
    found = verdict(running("a", "n1", **fields))
    assert (found.code, found.text) == ("InUse", "1 pod on it: default/a")


def test_a_few_of_many_pods_are_named() -> None:
    assert verdict(*(running(f"p{n}", "n1") for n in range(5))).text.endswith(
        "default/p0, default/p1, default/p2 and 2 more"
    )


def test_a_node_where_a_pending_pod_will_go_is_kept() -> None:
    assert verdict(pod("a", cpu=1)).code == "Wanted"
    assert verdict(pod("a", cpu=1, unschedulable=False)).code == "Wanted"
    assert verdict(pod("a", nominated_node="n1", unschedulable=False, gated=True)).code == "Wanted"
    assert verdict(pod("too-large", cpu=99)).removable
    assert verdict(pod("cheap", cpu=1, annotations={EXPENDABLE: "true"})).removable


def test_the_newest_promise_keeps_its_node_though_the_pod_still_shows_the_one_before() -> None:
    pairs = [ready_node("full"), ready_node("promised")]
    pods = [running("first", "full", cpu=2), pod("waits", cpu=2, nominated_node="full")]
    found = empty_nodes(
        snapshot(
            pods,
            pools=[PATIENT],
            nodes=[present for present, _ in pairs],
            claims=[behind for _, behind in pairs],
            nominations={"waits": "promised"},
        ),
        {},
    )
    assert [each.code for each in found] == ["InUse", "Wanted"]


def test_time_must_pass_since_the_last_pod_event_or_the_creation() -> None:
    early = verdict(last_event=980.0)
    assert (early.code, early.not_before) == ("TooSoon", 1010.0)
    assert early.text == "last used 20s ago, consolidateAfter is 30s"
    assert verdict(last_event=980.0, now=1010.0).removable
    assert verdict(last_event=None).removable


def test_never_means_never() -> None:
    assert verdict(tried=pool(consolidate_after=None, budgets=ALL)).code == "ConsolidationDisabled"


@pytest.mark.parametrize(
    ("annotations", "started_at", "kept"),
    [
        ({DO_NOT_DISRUPT: "true"}, 0.0, True),
        ({DO_NOT_DISRUPT: "30m"}, 0.0, True),
        ({DO_NOT_DISRUPT: "10m"}, 0.0, False),
        ({DO_NOT_DISRUPT: "10m"}, None, True),
        ({DO_NOT_DISRUPT: "soon"}, 0.0, False),
        ({DO_NOT_DISRUPT: "false"}, 0.0, False),
    ],
)
def test_a_pod_may_ask_not_to_be_disrupted(annotations: dict[str, str], started_at: float | None, kept: bool) -> None:
    daemon = running("a", "n1", owner_kind="DaemonSet", annotations=annotations, started_at=started_at)
    assert (verdict(daemon).code == "DoNotDisrupt") == kept


def test_a_node_may_ask_not_to_be_disrupted() -> None:
    assert verdict(annotations={DO_NOT_DISRUPT: "true"}).code == "DoNotDisrupt"


def test_only_initialized_nodes_of_a_known_pool_that_stay_are_judged() -> None:
    assert verdict(labels={INITIALIZED: "false"}).removable  # the claim's word is enough
    assert verdict(deleted_at=1.0).code == "Deleting"
    assert verdict(tried=pool("other")).code == "NoNodePool"
    starting = claim("n1", node_name="n1")
    cluster = snapshot(
        pools=[PATIENT], nodes=[node("n1", labels={NODE_POOL: "default"}), node("foreign")], claims=[starting]
    )
    assert [(each.node, each.code) for each in empty_nodes(cluster, {})] == [("n1", "NotInitialized")]


def test_the_budget_goes_to_the_nodes_that_were_empty_for_longest() -> None:
    pairs = [ready_node(f"n{number}") for number in range(4)]
    tight = pool(consolidate_after=0.0, budgets=(Budget(nodes="50%"),))
    cluster = snapshot(pools=[tight], nodes=[n for n, _ in pairs], claims=[c for _, c in pairs])
    found = empty_nodes(cluster, {"n0": 30.0, "n1": 10.0, "n2": 20.0, "n3": 40.0})
    assert {each.node: each.code for each in found} == {
        "n0": "BudgetExhausted",
        "n1": "Empty",
        "n2": "Empty",
        "n3": "BudgetExhausted",
    }
