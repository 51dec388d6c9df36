"""What can go wrong, when, and how a schedule of it is drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Fault:
    """:param at: seconds of virtual time since the world began
    :param kind: of `KINDS`
    :param target: what is hit: a call of the provider, a collection of the API
    :param amount: seconds it lasts, or calls, answers or steps it hits
    """

    at: float
    kind: str
    target: str = ""
    amount: float = 0.0

    def __str__(self) -> str:
        target = f" ({self.target})" if self.target else ""
        return f"{KINDS[self.kind].text.format(amount=self.amount)}{target}"


@dataclass(frozen=True, slots=True)
class Kind:
    """:param weight: how often, compared to others
    :param amounts: least and greatest
    :param targets: one of them is hit
    """

    text: str
    weight: int
    amounts: tuple[float, float] = (0.0, 0.0)
    targets: tuple[str, ...] = ("",)


_CALLS: Final = ("create", "delete", "get", "list", "instance_types", "interruptions")
_WATCHED: Final = (
    "/api/v1/pods",
    "/api/v1/nodes",
    "/apis/karpenter.sh/v1/nodeclaims",
    "/apis/karpenter.sh/v1/nodepools",
    "",
)

KINDS: Final[Mapping[str, Kind]] = {
    "crash": Kind("the controller is killed at its {amount:.0f}th next step", 14, (1, 40)),
    "refused": Kind("the API server refuses connections for {amount:.0f} s", 3, (2, 150)),
    "unavailable": Kind("the API server answers 503 for {amount:.0f} s", 3, (2, 90)),
    "deaf": Kind("the API server answers 503 to lists and watches for {amount:.0f} s", 3, (5, 120)),
    "hanging": Kind("the API server takes requests and does not answer for {amount:.0f} s", 3, (2, 150)),
    "lost-answers": Kind("the answers of the next {amount:.0f} writes are lost", 5, (1, 4)),
    "throttled-api": Kind("the API server answers 429 to the next {amount:.0f} requests", 3, (1, 8)),
    "silent-watch": Kind("watches fall silent for {amount:.0f} s", 4, (5, 150), _WATCHED),
    "cut-watches": Kind("all watches break", 3),
    "blind-kopf": Kind("kopf's watches stand and say nothing for {amount:.0f} s", 2, (20, 120)),
    "stolen-lease": Kind("somebody takes the Lease", 3),
    "clock-jump": Kind("the controller's clock jumps by {amount:+.0f} s", 4, (-1800, 1800)),
    "rival": Kind("another controller runs for {amount:.0f} s", 2, (30, 200)),
    "throttled": Kind("the provider throttles the next call", 10, (0, 0), _CALLS),
    "slow": Kind("the provider takes {amount:.0f} s for the next call", 8, (1, 90), _CALLS),
    "sold-out": Kind("the next purchase finds everything sold out", 5, (0, 0), ("create",)),
    "lost-reply": Kind("the provider does it and its reply is lost", 7, (0, 0), ("create", "delete")),
    "bought-twice": Kind("the provider buys two machines for one call", 4, (0, 0), ("create",)),
    "stale-list": Kind("the provider's list is {amount:.0f} s old", 8, (1, 120), ("list",)),
    "not-deleted": Kind("the provider says that it deletes and does not", 4, (0, 0), ("delete",)),
    "said-gone": Kind("the provider says of a machine that is there that it is gone", 4, (0, 0), ("delete", "get")),
    "foreign-taint": Kind("somebody taints each new node, for {amount:.0f} s", 3, (20, 240)),
    "silent-kubelet": Kind("a node's kubelet is silent for {amount:.0f} s", 4, (10, 300)),
    "lost-machine": Kind("a machine is gone", 3),
    "dead-boot": Kind("the next machine never joins", 3),
    "notice": Kind("the provider is going to take a machine away in {amount:.0f} s", 3, (30, 180)),
    "node-deleted": Kind("somebody deletes a node", 2),
    "claim-deleted": Kind("somebody deletes a claim", 2),
}


def draw(
    source: random.Random, *, count: int, seconds: float, kinds: Sequence[str] = tuple(KINDS)
) -> tuple[Fault, ...]:
    """A schedule, in the order of time."""
    weights = [KINDS[kind].weight for kind in kinds]
    drawn = [_one(source, source.choices(kinds, weights)[0], seconds) for _ in range(count)]
    return tuple(sorted(drawn, key=lambda fault: (fault.at, fault.kind, fault.target, fault.amount)))


def _one(source: random.Random, kind: str, seconds: float) -> Fault:
    known = KINDS[kind]
    amount = round(source.uniform(*known.amounts))
    return Fault(round(source.uniform(0.0, seconds), 1), kind, source.choice(known.targets), amount)
