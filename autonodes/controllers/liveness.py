"""Deadlines: a claim that does not become a node that counts in time is given up, so that its pods are planned again.

Each phase on the way in has one, the first included: the launch deadline counts from the claim's creation, the others
from the condition that began their phase (from the claim's creation, if that is not known). So a claim without any
condition has one, too. A pool says how long by annotations (`autonodes.core.deadlines`). The offering of a machine that
did not become such a node rests for a while (`autonodes.core.availability`): the next one goes elsewhere.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from autonodes.api.conditions import find_condition
from autonodes.api.nodeclaim import INITIALIZED, LAUNCHED, REGISTERED, NodeClaim
from autonodes.api.objects import timestamp
from autonodes.controllers.claims import Claims, created_at
from autonodes.controllers.preserving import Preserving
from autonodes.controllers.registrationhealth import RegistrationHealth
from autonodes.core.availability import Availability, offering_of
from autonodes.core.clock import Clock
from autonodes.core.deadlines import Deadlines, of_pool
from autonodes.core.durations import format_duration
from autonodes.core.lifecycle import Phase
from autonodes.kube.cluster import ClusterState

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Deadline:
    """:param at: seconds since the epoch
    :param reason: CamelCase, for the event
    """

    at: float
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Wait:
    """:param field: of `Deadlines`
    :param since: the condition that began it, "" for the claim's creation
    :param of: the condition that is waited for
    """

    field: str
    since: str
    of: str
    reason: str
    what: str


_WAITS: Final = {
    Phase.PENDING: _Wait("launch", "", LAUNCHED, "LaunchTimeout", "it was not launched"),
    Phase.LAUNCHED: _Wait(
        "registration", LAUNCHED, REGISTERED, "RegistrationTimeout", "its machine did not register as a node"
    ),
    Phase.REGISTERED: _Wait(
        "initialization", REGISTERED, INITIALIZED, "InitializationTimeout", "its node was not initialized"
    ),
}


class Liveness:
    def __init__(
        self,
        claims: Claims,
        state: ClusterState,
        health: RegistrationHealth,
        availability: Availability,
        preserving: Preserving,
        clock: Clock,
        defaults: Deadlines,
    ) -> None:
        self._claims, self._state, self._health, self._availability = claims, state, health, availability
        self._preserving, self._clock, self._defaults = preserving, clock, defaults

    def deadline(self, claim: NodeClaim) -> Deadline | None:
        """The next one, None for a claim that is ready or on its way out."""
        wait = _WAITS.get(claim.phase)
        if wait is None:
            return None
        limit = getattr(self._deadlines(claim), wait.field)
        message = f"{wait.what} within {format_duration(limit)}: {_last_word(claim, wait.of)}"
        due = max(_since(claim, wait.since) + limit, self._preserving.until(claim))
        return Deadline(due, wait.reason, message)

    def _deadlines(self, claim: NodeClaim) -> Deadlines:
        """What is wrong with the pool's annotations, the pool says itself (see `nodepools`)."""
        pool = self._state.nodepools.get(claim.pool)
        return self._defaults if pool is None else of_pool(pool.metadata.annotations, self._defaults)[0]

    async def enforce(self, claim: NodeClaim) -> bool:
        """Delete the claim if its time is over.

        :return: whether it is being deleted
        :raises ApiError: the API server can't be asked
        """
        deadline = self.deadline(claim)
        if deadline is None or self._clock.now() < deadline.at:
            return False
        log.warning("%s is given up: %s", claim.name, deadline.message)
        await self._claims.end(claim, deadline.reason, deadline.message, type="Warning")
        if (bought := offering_of(claim.pool, claim.metadata.labels)) is not None:
            self._availability.failed((bought,), self._clock.now())
        if claim.phase is not Phase.REGISTERED:
            self._health.record(claim.pool, joined=False)
        return True


def _since(claim: NodeClaim, condition: str) -> float:
    began = find_condition(claim.status.conditions, condition)
    return (timestamp(began.last_transition_time) if began else None) or created_at(claim)


def _last_word(claim: NodeClaim, condition: str) -> str:
    """What is known of why it did not come about."""
    known = find_condition(claim.status.conditions, condition)
    return (known.message or known.reason) if known else "it was never tried"
