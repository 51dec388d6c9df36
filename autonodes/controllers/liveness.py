"""Deadlines: a claim that does not become a node in time is given up, so that its pods are planned again.

Both deadlines hold whatever phase a claim is in, the one before the first included: the launch deadline counts from the
claim's creation, the registration deadline from its launch (from its creation, if that is not known).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from autonodes.api.conditions import find_condition
from autonodes.api.nodeclaim import LAUNCHED, REGISTERED, NodeClaim
from autonodes.api.objects import timestamp
from autonodes.controllers.claims import Claims, created_at
from autonodes.controllers.registrationhealth import RegistrationHealth
from autonodes.controllers.settings import ControllerSettings
from autonodes.core.clock import Clock
from autonodes.core.durations import format_duration

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Deadline:
    """:param at: seconds since the epoch
    :param reason: CamelCase, for the event
    """

    at: float
    reason: str
    message: str


class Liveness:
    def __init__(self, claims: Claims, health: RegistrationHealth, clock: Clock, settings: ControllerSettings) -> None:
        self._claims, self._health, self._clock, self._settings = claims, health, clock, settings

    def deadline(self, claim: NodeClaim) -> Deadline | None:
        """The next one, None for a node that has registered."""
        if claim.condition(REGISTERED):
            return None
        if not claim.condition(LAUNCHED):
            limit = self._settings.launch_deadline
            message = f"it was not launched within {format_duration(limit)}: {_last_failure(claim)}"
            return Deadline(created_at(claim) + limit, "LaunchTimeout", message)
        limit = self._settings.registration_deadline
        message = f"its machine did not register as a node within {format_duration(limit)}"
        return Deadline(_launched_at(claim) + limit, "RegistrationTimeout", message)

    async def enforce(self, claim: NodeClaim) -> bool:
        """Delete the claim if its time is over.

        :return: whether it is being deleted
        :raises ApiError: the API server can't be asked
        """
        deadline = self.deadline(claim)
        if deadline is None or self._clock.now() < deadline.at:
            return False
        log.warning("%s is given up: %s", claim.name, deadline.message)
        self._claims.report(claim, deadline.reason, f"Deleted: {deadline.message}", type="Warning")
        await self._claims.delete(claim)
        self._health.record(claim.pool, joined=False)
        return True


def _launched_at(claim: NodeClaim) -> float:
    launched = find_condition(claim.status.conditions, LAUNCHED)
    return (timestamp(launched.last_transition_time) if launched else None) or created_at(claim)


def _last_failure(claim: NodeClaim) -> str:
    launched = find_condition(claim.status.conditions, LAUNCHED)
    return (launched.message or launched.reason) if launched else "it was never tried"
