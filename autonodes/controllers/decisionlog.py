"""The decision log of a controller that runs: each decision when it is made, a line of JSON.

What follows from a snapshot is told as `autonodes.core.narration` tells it, so a recorded snapshot gives the same text
again. Before it stands when it was written and, for a purchase, the name of the claim::

    {"at":"2026-03-01T10:00:00.120Z","nodeClaim":"default-x7k2p","decision":"buy","who":["default/web"],…}

What is bought or deleted is written before it is done: what stands there may not have been done, if the process died
just then, but nothing is done that does not stand there. What is decided again and again (a pod waits, a node is kept)
is written when it is new, and again when it was something else in between; after a start of the controller everything
is new.

What no plan knows before is added: ``launch`` (the machine that a claim became), ``refuse`` (the provider did not give
one), and ``delete`` with the reason: repair, interruption, expiration, a deadline, a machine that is gone. Their costs
are those of the last snapshot, with what was bought and given back since.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from autonodes.api.nodeclaim import NodeClaim
from autonodes.core import disruption
from autonodes.core.clock import Clock
from autonodes.core.fleet import hourly_costs
from autonodes.core.model import Plan, Purchase, Snapshot
from autonodes.core.narration import BUY, DELETE, Decision, buys, commanded, kept, told

_REMEMBERED: Final = 4096
"""Claims of which it is known what was said last."""


class DecisionLog:
    """:param write: takes a line, without its end; must not fail"""

    def __init__(self, write: Callable[[str], None], clock: Clock) -> None:
        self._write, self._clock = write, clock
        self._snapshot: Snapshot | None = None
        self._known: dict[str, float] | None = None
        self._pods: dict[str, str] = {}
        self._nodes: dict[str, tuple[object, bool]] = {}
        self._said: dict[str, str] = {}

    def write(self, decision: Decision, *, claim: str = "") -> None:
        """:param claim: name of the one that carries it out"""
        at = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = json.dumps({"at": at, **({"nodeClaim": claim} if claim else {})}, separators=(",", ":"))
        self._write(f"{head[:-1]},{decision.line()[1:]}")

    def planned(self, snapshot: Snapshot, plan: Plan) -> None:
        """What became of the pods that nothing is bought for."""
        self._seen(snapshot)
        now: dict[str, str] = {}
        for decision in told(snapshot, plan, 0.0):
            text = json.dumps([decision.decision, decision.what])
            new = tuple(who for who in decision.who if self._pods.get(who) != text)
            now.update(dict.fromkeys(decision.who, text))
            if new:
                self._write_free(replace(decision, who=new))
        self._pods = now

    def purchases(self, snapshot: Snapshot, purchases: Iterable[Purchase]) -> tuple[Decision, ...]:
        """Of each, what to write when it is made (see `buying`)."""
        self._seen(snapshot)
        return tuple(buys(snapshot, purchases, self._total()))

    def buying(self, decision: Decision, claim: str) -> None:
        """A claim of this name is about to be written."""
        self._costs[claim] = decision.cost_after - decision.cost_before
        self.write(decision, claim=claim)

    def filling(self, pool: str, claim: str) -> None:
        """A claim of this name is about to be written, because its static pool lacks one."""
        why = f"NodePool {pool} has fewer nodes than its replicas"
        self._write_free(Decision(BUY, (), {"nodePool": pool}, why, 0.0, 0.0), claim=claim)

    def looked_at(self, snapshot: Snapshot, decision: disruption.Decision) -> None:
        """Nodes that are kept, and for another reason than when they were last looked at."""
        self._seen(snapshot)
        now: dict[str, tuple[object, bool]] = {}
        for each in kept(decision, 0.0):
            (node,) = each.who
            now[node] = (each.what["code"], node in decision.blocked)
            if self._nodes.get(node) != now[node]:
                self._write_free(each)
        self._nodes = now

    def disrupting(self, snapshot: Snapshot, decision: disruption.Decision) -> None:
        """Commands that are about to be carried out."""
        self._seen(snapshot)
        for each in commanded(snapshot, decision, self._total()):
            self.write(each)

    def launching(self, decision: str, claim: NodeClaim, what: Mapping[str, object], why: str) -> None:
        """What a provider said to a claim: ``launch`` or ``refuse``; the same refusal is written once."""
        if self._is_new(claim.name, [decision, what, why]):
            self._write_free(Decision(decision, (claim.name,), {"nodePool": claim.pool, **what}, why, 0.0, 0.0))

    def ending(self, name: str, code: str, why: str) -> None:
        """A claim, or a machine or node that has none, is about to be deleted; what is tried again is written once."""
        if self._is_new(name, [DELETE, code]):
            before = self._total()
            self._costs.pop(name, None)
            self.write(Decision(DELETE, (name,), {"code": code}, why, before, self._total()))

    def _is_new(self, name: str, content: list[object]) -> bool:
        """Whether something else was said of it last."""
        text = json.dumps(content)
        if self._said.get(name) == text:
            return False
        self._said[name] = text
        if len(self._said) > _REMEMBERED:
            del self._said[next(iter(self._said))]
        return True

    def _write_free(self, decision: Decision, *, claim: str = "") -> None:
        """Of one that costs nothing by itself."""
        total = self._total()
        self.write(replace(decision, cost_before=total, cost_after=total), claim=claim)

    def _seen(self, snapshot: Snapshot) -> None:
        if self._snapshot is not snapshot:
            self._snapshot, self._known = snapshot, None

    @property
    def _costs(self) -> dict[str, float]:
        """By name; worked out only when something is written."""
        if self._known is None:
            self._known = hourly_costs(self._snapshot) if self._snapshot is not None else {}
        return self._known

    def _total(self) -> float:
        return math.fsum(self._costs.values())
