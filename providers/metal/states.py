"""The life of a host, as a pure function: what is to be done next, given what is known.

::

    Registering → Inspecting → Cleaning → Available → Provisioning → Provisioned → Cleaning → Available
         └────────────┴───────────┴────────────────────────┴──→ Quarantined → Registering

A host enters `Available` only out of `Cleaning`, with a proof. Attempts are bounded, each harder than the one before
(`RESETS`); after the last one, or when it fails too often over time, the host is quarantined until its spec is changed.
That a controller has accepted a power command is no evidence of anything: a host counts as booted when its node has
joined, and as off when it says so *and* nobody hears from its node any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

ATTEMPTS: Final = 3
"""Of one piece of work before the host is quarantined."""
FLAP_WINDOW: Final = 24 * 3600.0
"""Seconds over which failed attempts add up."""
MOST_FLAPS: Final = 6
"""Failed attempts in `FLAP_WINDOW` after which a host is quarantined, even if each time it came up at last."""


class State(StrEnum):
    REGISTERING = "Registering"
    INSPECTING = "Inspecting"
    AVAILABLE = "Available"
    PROVISIONING = "Provisioning"
    PROVISIONED = "Provisioned"
    CLEANING = "Cleaning"
    QUARANTINED = "Quarantined"


class Reset(StrEnum):
    """How a host is made to boot anew, from the mildest to the hardest."""

    GRACEFUL = "graceful"
    FORCED = "forced"
    COLD = "cold"


RESETS: Final = (Reset.GRACEFUL, Reset.FORCED, Reset.COLD)

LEGAL: Final[Mapping[State, frozenset[State]]] = {
    State.REGISTERING: frozenset({State.INSPECTING, State.QUARANTINED}),
    State.INSPECTING: frozenset({State.CLEANING, State.AVAILABLE, State.REGISTERING, State.QUARANTINED}),
    State.AVAILABLE: frozenset({State.PROVISIONING, State.REGISTERING}),
    State.PROVISIONING: frozenset({State.PROVISIONED, State.CLEANING, State.QUARANTINED}),
    State.PROVISIONED: frozenset({State.CLEANING}),
    State.CLEANING: frozenset({State.AVAILABLE, State.QUARANTINED}),
    State.QUARANTINED: frozenset({State.REGISTERING}),
}

AT_WORK: Final = frozenset({State.INSPECTING, State.PROVISIONING, State.CLEANING})
"""States whose work costs something: of these hosts only a few are at it at a time."""


class IllegalTransitionError(ValueError):
    """A defect: the host stays as it is."""


def check(before: State, after: State) -> None:
    """:raises IllegalTransitionError: a host can't go there from here"""
    if after is not before and after not in LEGAL[before]:
        raise IllegalTransitionError(f"{before} → {after}")


def reset_of(attempt: int) -> Reset:
    """:param attempt: 1 for the first"""
    return RESETS[min(attempt, len(RESETS)) - 1]


def recent(flaps: Sequence[float], now: float) -> tuple[float, ...]:
    """Those that still count."""
    return tuple(each for each in flaps if now - each < FLAP_WINDOW)


def is_hopeless(attempts: int, flaps: Sequence[float], now: float) -> bool:
    """Whether another attempt would be one too many."""
    return attempts >= ATTEMPTS or len(recent(flaps, now)) >= MOST_FLAPS
