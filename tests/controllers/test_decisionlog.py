"""What is written down, and when it is written again."""

from __future__ import annotations

import json
from typing import Any

from autonodes.controllers.decisionlog import DecisionLog
from autonodes.core.disruption import Circumstances, decide
from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE
from autonodes.core.model import Snapshot
from autonodes.core.narration import REFUSE, narrate
from autonodes.core.planner import plan
from clock import VirtualClock
from controllers.claimbook import claim
from core.parts import machine, pod, ready_node, running, snapshot

TYPES = [machine("small", cpu=2, price=0.1), machine("large", cpu=8, price=0.5)]
NODE, BEHIND = ready_node("n1", cpu=8, labels={INSTANCE_TYPE: "large", CAPACITY_TYPE: "on-demand"})


class Written:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.log = DecisionLog(self.lines.append, VirtualClock())

    def saw(self, of: Snapshot) -> list[dict[str, Any]]:
        """What is written by a controller that sees this."""
        self.lines.clear()
        made, decided = plan(of), decide(of, Circumstances())
        self.log.planned(of, made)
        for number, decision in enumerate(self.log.purchases(of, made.purchases)):
            self.log.buying(decision, f"default-{number}")
        self.log.disrupting(of, decided)
        self.log.looked_at(of, decided)
        return [json.loads(line) for line in self.lines]


def text(decided: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(each["decision"], each["who"]) for each in decided]


def test_a_line_is_that_of_a_replay_after_the_time_and_the_claim() -> None:
    of = snapshot([pod("a", cpu=1), pod("huge", cpu=99)], types=TYPES)
    written = Written()
    written.saw(of)
    replayed = [decision.line() for decision in narrate(of, plan(of), decide(of, Circumstances()))]
    assert sorted("{" + line[line.index('"decision":') :] for line in written.lines) == sorted(replayed)
    assert any(line.startswith('{"at":"2023-11-14T22:13:20.000Z","nodeClaim":"default-0",') for line in written.lines)


def test_what_is_decided_again_is_written_once() -> None:
    waiting = snapshot([pod("huge", cpu=99), running("b", "n1", cpu=8)], types=TYPES, nodes=[NODE], claims=[BEHIND])
    written = Written()
    assert text(written.saw(waiting)) == [("leave", ["default/huge"]), ("keep", ["n1"])]
    assert written.saw(waiting) == []


def test_of_pods_that_are_left_only_the_new_ones_are_written() -> None:
    written = Written()
    written.saw(snapshot([pod("huge", cpu=99)], types=TYPES))
    both = snapshot([pod("huge", cpu=99), pod("vast", cpu=99)], types=TYPES)
    assert text(written.saw(both)) == [("leave", ["default/vast"])]


def test_a_pod_that_waits_again_for_another_reason_is_written_again() -> None:
    written = Written()
    written.saw(snapshot([pod("a", cpu=99)], types=TYPES))
    assert text(written.saw(snapshot([pod("a", "disk In ssd")], types=TYPES))) == [("leave", ["default/a"])]


def test_costs_go_on_with_what_was_bought_and_given_back() -> None:
    written = Written()
    of = snapshot([pod("a", cpu=1), pod("b", cpu=8)], types=TYPES, nodes=[NODE], claims=[BEHIND])
    assert [(each["costBefore"], each["costAfter"]) for each in written.saw(of) if each["decision"] == "buy"] == [
        (0.5, 0.6)
    ]
    written.lines.clear()
    written.log.ending("default-0", "Expired", "it is old")
    ended = json.loads(written.lines[0])
    assert (ended["decision"], ended["costBefore"], ended["costAfter"]) == ("delete", 0.6, 0.5)


def test_a_refusal_and_a_deletion_that_are_tried_again_are_written_once() -> None:
    written = Written()
    for _ in range(3):
        written.log.launching(REFUSE, claim(), {"code": "InsufficientCapacityError"}, "none left")
    for _ in range(3):
        written.log.ending(claim().name, "InsufficientCapacityError", "none left")
    assert [json.loads(line)["decision"] for line in written.lines] == ["refuse", "delete"]
