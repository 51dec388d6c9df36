"""A node that is preserved is cordoned and protected, and afterwards as it was before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from autonodes.controllers.preserving import Preserving
from autonodes.core.model import Node
from controllers.claimbook import NOW, claim, shown

UNTIL = "autonodes.io/preserve-until"
PROTECTED = "karpenter.sh/do-not-disrupt"
PRESERVING = "autonodes.io/preserving"


@dataclass
class World:
    """One claim, its node, and what is written to it."""

    now: float = NOW
    unschedulable: bool = False
    annotations: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    writes: int = 0

    def __post_init__(self) -> None:
        self.clock = type("Clock", (), {"now": lambda _: self.now})()
        self.freeze = type("Freeze", (), {"check": lambda _: None})()

    @property
    def state(self) -> Any:
        node = Node(name="default-abcde", annotations=self.annotations, unschedulable=self.unschedulable)
        one = claim("Launched", "Registered")
        claims = type("Cache", (), {"items": {one.name: one}})()
        return type("State", (), {"nodeclaims": claims, "nodes": {node.name: node}})()

    async def get(self, resource: Any, name: str) -> dict[str, Any]:
        metadata = {"name": name, "resourceVersion": "1", "annotations": dict(self.annotations)}
        return {"metadata": metadata, "spec": {"unschedulable": True} if self.unschedulable else {}}

    async def merge_patch(self, resource: Any, name: str, patch: dict[str, Any]) -> None:
        self.writes += 1
        for key, value in patch["metadata"]["annotations"].items():
            if value is None:
                self.annotations.pop(key, None)
            else:
                self.annotations[key] = value
        if "unschedulable" in patch["spec"]:
            self.unschedulable = bool(patch["spec"]["unschedulable"])

    def report(self, claim: Any, reason: str, message: str, *, type: str) -> None:
        self.told.append(f"{reason} {message}")

    async def look(self) -> None:
        given: Any = self
        await Preserving(given, self.state, given, self.freeze, self.clock).look()


async def test_it_is_cordoned_and_protected_until_then_and_as_before_afterwards() -> None:
    world = World(annotations={UNTIL: shown(NOW + 60)})
    await world.look()
    assert (world.unschedulable, world.annotations[PROTECTED]) == (True, "true")
    await world.look()
    assert world.writes == 1
    world.now += 60
    await world.look()
    assert (world.unschedulable, world.annotations) == (False, {UNTIL: shown(NOW + 60)})
    await world.look()
    assert world.writes == 2


async def test_it_lets_go_when_the_annotation_is_taken_off() -> None:
    world = World(annotations={UNTIL: shown(NOW + 60)})
    await world.look()
    del world.annotations[UNTIL]
    await world.look()
    assert (world.unschedulable, world.annotations) == (False, {})


async def test_what_somebody_else_set_stays() -> None:
    world = World(annotations={UNTIL: shown(NOW + 60), PROTECTED: "true"}, unschedulable=True)
    await world.look()
    assert world.annotations[PRESERVING] == ""
    world.now += 60
    await world.look()
    assert (world.unschedulable, world.annotations[PROTECTED]) == (True, "true")


@pytest.mark.parametrize("text", ["soon", "2030-01-31"])
async def test_a_bad_moment_is_told_and_ignored(text: str) -> None:
    world = World(annotations={UNTIL: text})
    await world.look()
    assert world.writes == 0
    assert len(world.told) == 1
    assert "InvalidPreservation" in world.told[0]
    assert text in world.told[0]
