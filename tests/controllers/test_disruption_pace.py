"""How often decisions about nodes are made where something changes all the time."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autonodes.controllers.disruption import Disruption
from autonodes.controllers.settings import ControllerSettings
from autonodes.core.disruption import Decision
from autonodes.core.emptiness import Verdict
from autonodes.kube.cache import Change
from clock import VirtualClock
from core.parts import snapshot

SOON = ControllerSettings().disruption_apart


class Restless:
    """A `Disruption` whose decisions take so many seconds each, and what it has decided."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, takes: float) -> None:
        self.clock, self.decided, self.advanced = VirtualClock(), 0, 0
        self.takes = takes
        stand_in: Any = SimpleNamespace(
            met=self._nothing,
            advance=self._advance,
            take=self._view,
            is_behind=False,
            nodeclaims=SimpleNamespace(items={"n1": None}),
            busy=frozenset,
            nominations=dict,
            decisions=SimpleNamespace(looked_at=lambda *_: None),
        )
        self.tested = Disruption(
            *cast(Any, [stand_in] * 8),
            decide=self._decide,
            decided=lambda *_: None,
            clock=self.clock,
            settings=ControllerSettings(),
        )
        monkeypatch.setattr(self.tested, "_facts", lambda: None)
        monkeypatch.setattr(self.tested, "_tell", lambda _: None)

    async def _nothing(self) -> None:
        pass

    async def _advance(self) -> None:
        self.advanced += 1

    async def _view(self, _: Mapping[str, str]) -> Any:
        return SimpleNamespace(snapshot=snapshot(now=self.clock.now()), headroom_known=True)

    def _decide(self, *_: object, **__: object) -> Decision:
        self.decided += 1
        self.clock._now += self.takes
        verdict = Verdict(node="n1", claim="n1", pool="default", code="InUse", text="", since=0.0)
        return Decision(verdicts=(verdict,))

    async def look(self) -> float:
        """After a change that asks for another decision."""
        self.tested._something_changed(cast(Change[Any], None))
        return await self.tested.look()


async def test_after_a_decision_that_took_long_the_next_one_waits_while_commands_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Restless(monkeypatch, takes=5.0)
    for _ in range(20):
        await found.look()
        await found.clock.advance(SOON)
    assert (found.decided, found.advanced) == (1, 20)
    await found.look()
    assert found.decided == 2


async def test_quick_decisions_are_made_at_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Restless(monkeypatch, takes=0.05)
    for _ in range(20):
        await found.look()
        await found.clock.advance(SOON)
    assert found.decided == 20


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_a_clock_that_jumps_while_a_decision_is_made_stops_none_for_longer_than_a_minute(
    monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    found = Restless(monkeypatch, takes=jump)
    await found.look()
    found.takes = 0.0
    await found.clock.advance(60.0)
    await found.look()
    assert found.decided == 2
