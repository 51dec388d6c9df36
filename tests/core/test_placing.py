"""Which promises hold, and whose."""

from __future__ import annotations

from autonodes.core.planner import plan
from core.parts import machine, pod, ready_node, running, snapshot


def test_a_promise_that_its_node_can_not_keep_is_made_anew_though_the_pod_shows_it() -> None:
    present, behind = ready_node("n1", cpu=2)
    pods = [running("before", "n1", cpu=2), pod("a", cpu=2, nominated_node="n1")]
    found = plan(snapshot(pods, types=(machine("small"),), nodes=[present], claims=[behind], nominations={"a": "n1"}))
    assert found.placements == {}
    assert [each.pods for each in found.purchases] == [("a",)]
