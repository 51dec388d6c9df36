from __future__ import annotations

import json

from autonodes.core.disruption import Circumstances, decide
from autonodes.core.fleet import hourly_costs
from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE
from autonodes.core.model import Snapshot
from autonodes.core.narration import buys, disrupted, narrate
from autonodes.core.planner import plan
from core.parts import claim, machine, pod, pool, ready_node, requirements, snapshot

SMALL = machine("small", cpu=2, price=0.1)
LARGE = machine("large", cpu=8, memory="16Gi", price=0.5)
LABELS = {INSTANCE_TYPE: "small", CAPACITY_TYPE: "on-demand"}


def lines(of: Snapshot) -> list[dict[str, object]]:
    return [json.loads(decision.line()) for decision in narrate(of, plan(of), decide(of, Circumstances()))]


def test_a_purchase_says_for_whom_what_why_and_what_it_costs() -> None:
    assert lines(snapshot([pod("a", cpu=1)], types=[SMALL, LARGE])) == [
        {
            "decision": "buy",
            "who": ["default/a"],
            "what": {
                "nodePool": "default",
                "instanceType": "small",
                "zone": "z1",
                "capacityType": "on-demand",
                "pricePerHour": 0.1,
            },
            "why": "the cheapest of 2 types that hold its 1 pod; next is large (z1, on-demand), $0.4000/h dearer",
            "costBefore": 0.0,
            "costAfter": 0.1,
        }
    ]


def test_costs_count_what_is_there_and_go_on_from_decision_to_decision() -> None:
    node, behind = ready_node("n1", labels=LABELS)
    found = lines(snapshot([pod("a", cpu=8)], types=[SMALL, LARGE], nodes=[node], claims=[behind]))
    assert [(each["decision"], each["costBefore"], each["costAfter"]) for each in found] == [
        ("buy", 0.1, 0.6),
        ("delete", 0.6, 0.5),
    ]


def test_pods_that_are_left_are_grouped_by_their_reasons() -> None:
    pods = [pod("a", cpu=100), pod("b", cpu=100), pod("c", "disk In ssd")]
    found = lines(snapshot(pods, types=[SMALL]))
    assert [(each["decision"], each["who"]) for each in found] == [
        ("leave", ["default/a", "default/b"]),
        ("leave", ["default/c"]),
    ]
    assert str(found[0]["why"]).startswith("default: no instance type has enough resources (requested cpu=100;")


def test_pods_with_a_place_and_nodes_that_stay_are_in_the_log() -> None:
    node, behind = ready_node("n1", labels=LABELS)
    found = lines(snapshot([pod("a", cpu=1)], types=[SMALL], nodes=[node], claims=[behind]))
    assert [(each["decision"], each["who"], each["what"]) for each in found] == [
        ("place", ["default/a"], {"node": "n1"}),
        ("keep", ["n1"], {"code": "Wanted"}),
    ]


def test_a_claim_in_flight_costs_at_least_the_cheapest_that_it_may_become() -> None:
    either = claim("c1", launched=False, labels={}, requirements=requirements(f"{INSTANCE_TYPE} In small large"))
    assert hourly_costs(snapshot(types=[SMALL, LARGE], claims=[either])) == {"c1": 0.1}


def test_a_node_without_a_known_price_is_not_counted() -> None:
    node, behind = ready_node("n1", labels={**LABELS, INSTANCE_TYPE: "gone"})
    assert hourly_costs(snapshot(types=[SMALL], pools=[pool()], nodes=[node], claims=[behind])) == {}


def test_a_drifted_node_of_a_static_pool_is_replaced_by_whatever_the_pool_allows() -> None:
    node, behind = ready_node("n1", labels=LABELS)
    of = snapshot(types=[SMALL], pools=[], nodes=[node], claims=[behind], static_pools=(pool(ready=False),))
    decision = decide(of, Circumstances(drifted=frozenset(("n1",))))
    (line,) = [json.loads(each.line()) for each in disrupted(of, decision, 0.0)][:1]
    assert (line["decision"], line["who"]) == ("replace", ["n1"])
    assert line["what"] == {"code": "Drifted", "by": [{"nodePool": "default"}]}
    (command,) = decision.commands
    (bought,) = buys(of, command.replacements, 0.0)
    assert bought.why == "one more of its static NodePool, before another one goes"
