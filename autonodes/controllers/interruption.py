"""Machines that are going to be taken away: a spot machine's notice, maintenance, a host that fails.

Every provider is asked again and again which notices are in force (`Provider.interruptions`), so that none is lost with
a process. The claim is deleted at once: its node is tainted and drained, its pods count as pending from that moment on,
so that what replaces it is bought in parallel (`autonodes.core.displacement`). The drain ends before the machine does:
`_MARGIN` seconds are left to take volumes off. No budget and no annotation holds it: the machine goes anyway.

A spot offering that was interrupted is left alone for a while (`autonodes.core.availability`).
"""

from __future__ import annotations

import logging
from typing import Final

from autonodes.api.nodeclaim import NodeClaim
from autonodes.controllers.claims import Claims, deleted_at
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.providers import GROUP, Providers
from autonodes.controllers.settings import ControllerSettings
from autonodes.core.availability import Availability, offering_of
from autonodes.core.clock import Clock
from autonodes.core.errors import AutonodesError
from autonodes.kube.cluster import ClusterState
from autonodes.provider import Interruption, Provider

log = logging.getLogger(__name__)

_MARGIN: Final = 15.0
"""Seconds between the end of a drain and that of the machine."""

REASONS: Final = {"spot": "SpotInterrupted", "maintenance": "ScheduledMaintenance", "host-failure": "HostFailed"}
"""Kind of a notice → reason of its claim's deletion."""


class Interruptions:
    def __init__(
        self,
        state: ClusterState,
        claims: Claims,
        providers: Providers,
        availability: Availability,
        freeze: Freeze,
        *,
        clock: Clock,
        settings: ControllerSettings,
    ) -> None:
        self._state, self._claims, self._providers, self._availability = state, claims, providers, availability
        self._freeze, self._clock, self._settings = freeze, clock, settings

    async def run(self) -> None:
        """Round after round, until cancelled."""
        while True:
            for provider in self._providers.all():
                try:
                    await self.heed(provider)
                except AutonodesError as error:
                    log.warning("notices of %s: %s", provider.name, error)
                except Exception:
                    log.exception("notices of %s: a defect", provider.name)
            await self._clock.sleep(self._settings.interruption_poll)

    async def heed(self, provider: Provider) -> None:
        """Act on the notices that a provider has now.

        :raises AutonodesError: not now
        """
        notices = {notice.provider_id: notice for notice in await provider.interruptions()}
        if not notices:
            return
        for claim in tuple(self._state.nodeclaims.items.values()):
            notice = notices.get(claim.status.provider_id)  # type: ignore[call-overload]  # a claim's is plain text
            if notice is not None and deleted_at(claim) is None and claim.spec.node_class_ref.group == GROUP:
                await self._leave(claim, notice)

    async def _leave(self, known: NodeClaim, notice: Interruption) -> None:
        claim = await self._claims.get(known.name, known.metadata.uid)
        if claim is None or deleted_at(claim) is not None:
            return
        self._freeze.check()
        now = self._clock.now()
        at = now + self._settings.repair_drain if notice.at is None else max(now, notice.at - _MARGIN)
        log.warning("%s is interrupted: %s", claim.name, notice.message or notice.kind)
        bought = offering_of(claim.pool, claim.metadata.labels)
        if notice.kind == "spot" and bought is not None:
            self._availability.failed((bought,), now)
        await self._claims.end_by(
            claim, at, REASONS[notice.kind], notice.message or f"notice of its provider: {notice.kind}"
        )
