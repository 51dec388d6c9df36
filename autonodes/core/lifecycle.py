"""The life of a NodeClaim, as a table: which phase follows which, and what may be said of a claim in each.

A claim is in one phase at a time. The phase is not stored: it is read off the claim's conditions, so that no second
record can contradict them. On the way in, each phase needs all those before it; on the way out, which begins with the
request to delete the claim, parts may be left out (a machine that is dead already is not drained).

Whoever sets a condition asks `legal` first: a condition can be set only where a transition that it marks begins, or,
for those that come and go, in the phases that know them. The table is what the documentation draws, too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from autonodes.core.errors import AutonodesError


class Phase(Enum):
    """By the words that a person would use."""

    PENDING = "Pending"
    LAUNCHED = "Launched"
    REGISTERED = "Registered"
    READY = "Ready"
    TERMINATING = "Terminating"
    DRAINED = "Drained"
    VOLUMES_DETACHED = "VolumesDetached"
    INSTANCE_TERMINATING = "InstanceTerminating"
    GONE = "Gone"


@dataclass(frozen=True, slots=True)
class Transition:
    """:param condition: becomes True with it; "" where the claim's deletion, or its end, is what happens
    :param cause: for people
    """

    source: Phase
    target: Phase
    condition: str
    cause: str


@dataclass(frozen=True, slots=True)
class Remark:
    """A condition that comes and goes without another phase.

    :param phases: in which it may become True
    """

    condition: str
    phases: tuple[Phase, ...]
    meaning: str


TRANSITIONS: Final = (
    Transition(Phase.PENDING, Phase.LAUNCHED, "Launched", "the provider has a machine for it"),
    Transition(Phase.PENDING, Phase.TERMINATING, "", "no capacity, or the launch deadline"),
    Transition(Phase.LAUNCHED, Phase.REGISTERED, "Registered", "the machine joined as a node"),
    Transition(Phase.LAUNCHED, Phase.TERMINATING, "", "the registration deadline"),
    Transition(Phase.REGISTERED, Phase.READY, "Initialized", "ready, startup taints gone, devices there"),
    Transition(Phase.REGISTERED, Phase.TERMINATING, "", "the initialization deadline"),
    Transition(Phase.READY, Phase.TERMINATING, "", "disruption, repair or interruption"),
    Transition(Phase.TERMINATING, Phase.DRAINED, "Drained", "no pod holds the node any more"),
    Transition(Phase.TERMINATING, Phase.INSTANCE_TERMINATING, "InstanceTerminating", "there is no node to drain"),
    Transition(Phase.TERMINATING, Phase.GONE, "", "there is no machine"),
    Transition(Phase.DRAINED, Phase.VOLUMES_DETACHED, "VolumesDetached", "no volume is attached any more"),
    Transition(Phase.DRAINED, Phase.INSTANCE_TERMINATING, "InstanceTerminating", "the grace period is over"),
    Transition(Phase.DRAINED, Phase.GONE, "", "the machine is gone already"),
    Transition(Phase.VOLUMES_DETACHED, Phase.INSTANCE_TERMINATING, "InstanceTerminating", "the machine is to go"),
    Transition(Phase.VOLUMES_DETACHED, Phase.GONE, "", "the machine is gone already"),
    Transition(Phase.INSTANCE_TERMINATING, Phase.GONE, "", "the provider says that there is no machine"),
)

_LIVING: Final = (Phase.PENDING, Phase.LAUNCHED, Phase.REGISTERED, Phase.READY)

REMARKS: Final = (
    Remark("Consolidatable", (Phase.READY,), "no pod came or left for the pool's consolidateAfter"),
    Remark("Drifted", _LIVING[1:], "it no longer is what its pool or node class asks for"),
    Remark("DisruptionReason", _LIVING, "why it is about to be deleted"),
)

_WAY_IN: Final = tuple(
    (transition.condition, transition.target) for transition in TRANSITIONS if transition.target in _LIVING
)
_WAY_OUT: Final = (
    (Phase.INSTANCE_TERMINATING, {"InstanceTerminating"}),
    (Phase.VOLUMES_DETACHED, {"Drained", "VolumesDetached"}),
    (Phase.DRAINED, {"Drained"}),
)
_MARKED: Final = frozenset(transition.condition for transition in TRANSITIONS)


class IllegalTransitionError(AutonodesError):
    """A condition that the claim's phase does not know: a defect, or a claim that somebody edited by hand."""

    def __init__(self, phase: Phase, condition: str) -> None:
        super().__init__(phase, condition)
        self.phase, self.condition = phase, condition

    def __str__(self) -> str:
        return f"{self.condition} can't be set on a NodeClaim that is {self.phase.value}"


Status = Literal["True", "False", "Unknown"]


def phase(true: Collection[str], *, deleting: bool) -> Phase:
    """The phase of a claim.

    :param true: the types of its conditions that are True
    :param deleting: whether somebody asked for its deletion
    """
    if deleting:
        return next((each for each, needed in _WAY_OUT if needed <= set(true)), Phase.TERMINATING)
    reached = Phase.PENDING
    for condition, target in _WAY_IN:
        if condition not in true:
            break
        reached = target
    return reached


def following(source: Phase) -> tuple[Transition, ...]:
    """The legal ways on."""
    return tuple(transition for transition in TRANSITIONS if transition.source is source)


def legal(condition: str, status: Status, true: Collection[str], *, deleting: bool) -> bool:
    """Whether a condition may be set to this status now.

    A condition that marks a phase is never taken back. Those that the table does not know are nobody's phase: they may
    be set at any time.
    """
    now = phase(true, deleting=deleting)
    if condition in _MARKED:
        if condition in true:
            return status == "True"
        return any(transition.condition == condition for transition in following(now))
    remark = next((each for each in REMARKS if each.condition == condition), None)
    return remark is None or status != "True" or now in remark.phases


def check(condition: str, status: Status, true: Collection[str], *, deleting: bool) -> None:
    """:raises IllegalTransitionError: it may not"""
    if not legal(condition, status, true, deleting=deleting):
        raise IllegalTransitionError(phase(true, deleting=deleting), condition)


def diagram() -> str:
    """The table as a state diagram in Mermaid's notation."""
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.PENDING.value}: written, before anything is bought"]
    lines += [f"    {each.source.value} --> {_shown(each.target)}: {each.cause}" for each in TRANSITIONS]
    return "\n".join(lines)


def _shown(target: Phase) -> str:
    return "[*]" if target is Phase.GONE else target.value


def conditions() -> str:
    """What each condition says, as a table in Markdown."""
    rows = ["| Condition | Set while | Says |", "|---|---|---|"]
    for condition in dict.fromkeys(each.condition for each in TRANSITIONS if each.condition):
        marked = [each for each in TRANSITIONS if each.condition == condition]
        phases = ", ".join(each.source.value for each in marked)
        rows.append(f"| {condition} | {phases} | {'; or '.join(each.cause for each in marked)} |")
    for remark in REMARKS:
        rows.append(f"| {remark.condition} | {', '.join(each.value for each in remark.phases)} | {remark.meaning} |")
    return "\n".join(rows)
