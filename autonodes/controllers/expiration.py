"""Expiration: a claim older than its ``expireAfter`` is deleted, whatever runs on its node.

It is forceful: no budget and no do-not-disrupt holds it, and nothing is bought first; its pods are drained as those of
any node on its way out. Only a node that is preserved for debugging (`preserving`) is kept until that is over. What
can't be counted is not deleted (see `freeze`): an expired claim waits until that is over.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.objects import seconds
from autonodes.controllers.claims import Claims, created_at, deleted_at
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.preserving import Preserving
from autonodes.controllers.providers import GROUP
from autonodes.controllers.waiting import wait_for_event
from autonodes.core.clock import Clock
from autonodes.core.durations import format_duration
from autonodes.core.errors import AutonodesError
from autonodes.kube.cache import Change
from autonodes.kube.cluster import ClusterState

log = logging.getLogger(__name__)

_RESYNC: Final = 60.0
"""Seconds between two looks at the latest: what failed is tried again."""

_APART: Final = 1.0
"""Seconds between two looks at least."""


class Expiration:
    def __init__(
        self, state: ClusterState, claims: Claims, preserving: Preserving, freeze: Freeze, clock: Clock
    ) -> None:
        self._state, self._claims, self._preserving = state, claims, preserving
        self._freeze, self._clock = freeze, clock
        self._came = asyncio.Event()

    def subscribe(self) -> None:
        """Follow the claims."""
        self._state.nodeclaims.subscribe(self._claim_changed)

    def _claim_changed(self, change: Change[NodeClaim]) -> None:
        old, new = change.old, change.new
        if new is not None and (old is None or old.metadata.annotations != new.metadata.annotations):
            self._came.set()

    async def run(self) -> None:
        """Look after look, until cancelled."""
        while True:
            self._came.clear()
            pause = _RESYNC
            try:
                pause = min(pause, await self.expire())
            except AutonodesError as error:
                log.warning("nothing expires now: %s", error)
            except Exception:
                log.exception("expiration: a defect")
            await self._clock.sleep(_APART)
            await wait_for_event(self._came, max(0.0, pause - _APART), self._clock)

    async def expire(self) -> float:
        """Delete the claims that have expired.

        :return: seconds until the next one does
        :raises AutonodesError: not now
        """
        soonest = _RESYNC
        for claim in tuple(self._state.nodeclaims.items.values()):
            at = expires_at(claim)
            if at is None or deleted_at(claim) is not None or claim.spec.node_class_ref.group != GROUP:
                continue
            left = max(at, self._preserving.until(claim)) - self._clock.now()
            if left > 0:
                soonest = min(soonest, left)
                continue
            self._freeze.check()
            await self._delete(claim)
        return soonest

    async def _delete(self, claim: NodeClaim) -> None:
        age = format_duration(round(self._clock.now() - created_at(claim)))
        log.info("%s has expired: it is %s old", claim.name, age)
        await self._claims.end(claim, "Expired", f"it is {age} old, expireAfter is {claim.spec.expire_after}")


def expires_at(claim: NodeClaim) -> float | None:
    """Seconds since the epoch; None for never."""
    try:
        after = seconds(claim.spec.expire_after, path="spec.expireAfter")
    except AutonodesError as error:
        log.warning("NodeClaim %s never expires: %s", claim.name, error)
        return None
    return None if after is None else created_at(claim) + after
