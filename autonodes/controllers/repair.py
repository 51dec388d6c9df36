"""Replacing nodes that are broken, by what their provider calls broken (`Provider.repair_policies`).

Which ones now is `autonodes.core.health`'s decision on the caches. Before one is acted on, both witnesses are asked:
the API server itself for the node as it is now, and the provider for the machine; where either does not answer, nothing
happens. What is under repair already is counted from the claims: those that are being deleted say so in their
``DisruptionReason``, so a successor of a killed process counts the same.

The claim is deleted like any other, with an end to the drain: its kubelet may never confirm an eviction, and a budget
may wait for ever for pods on that very node. No pod is deleted by force before the machine is gone (see `termination`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from autonodes.api.conditions import find_condition
from autonodes.api.nodeclaim import DISRUPTION_REASON, NodeClaim
from autonodes.controllers.claims import Claims, deleted_at
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.preserving import Preserving
from autonodes.controllers.providers import GROUP, Providers
from autonodes.controllers.settings import ControllerSettings
from autonodes.core.clock import Clock
from autonodes.core.durations import format_duration
from autonodes.core.errors import AutonodesError
from autonodes.core.health import UNKNOWN, Ailment, Tolerance, ailment, replaceable
from autonodes.core.lifecycle import Phase
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.decoding import decode_node
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import NODES
from autonodes.provider import MachineNotFoundError, ProviderID

log = logging.getLogger(__name__)

UNHEALTHY: Final = "Unhealthy"
UNREACHABLE: Final = "Unreachable"
"""Reasons of a claim's deletion; the second is that of a node whose kubelet is silent."""


class Repair:
    def __init__(
        self,
        client: KubeClient,
        state: ClusterState,
        claims: Claims,
        providers: Providers,
        preserving: Preserving,
        freeze: Freeze,
        *,
        clock: Clock,
        settings: ControllerSettings,
    ) -> None:
        self._client, self._state, self._claims, self._providers = client, state, claims, providers
        self._preserving, self._freeze, self._clock, self._settings = preserving, freeze, clock, settings

    async def run(self) -> None:
        """Pass after pass, until cancelled."""
        while True:
            try:
                await self.repair()
            except AutonodesError as error:
                log.warning("no node is repaired: %s", error)
            except Exception:
                log.exception("repair: a defect")
            await self._clock.sleep(self._settings.repair_interval)

    async def repair(self) -> None:
        """One pass.

        :raises AutonodesError: not now: something can't be counted
        """
        sick = [found for claim in self._ours() if (found := self._ailment(claim)) is not None]
        if not sick:
            return
        self._freeze.check()
        reasons = [(claim.pool, reason) for claim in self._all() if (reason := _repaired(claim)) is not None]
        chosen = replaceable(
            sick,
            self._clock.now(),
            sizes=Counter(claim.pool for claim in self._all()),
            leaving=Counter(pool for pool, _ in reasons),
            unknown=sum(reason == UNREACHABLE for _, reason in reasons),
        )
        for each in chosen:
            await self._replace(each)

    def _all(self) -> Sequence[NodeClaim]:
        claims = self._state.nodeclaims.items.values()
        return [claim for claim in claims if claim.spec.node_class_ref.group == GROUP]

    def _ours(self) -> Sequence[NodeClaim]:
        return [claim for claim in self._all() if claim.phase is Phase.READY and not self._preserving.preserves(claim)]

    def _ailment(self, claim: NodeClaim) -> Ailment | None:
        node = self._state.nodes.get(claim.name)
        return None if node is None else ailment(node, claim.pool, self._tolerances(claim))

    def _tolerances(self, claim: NodeClaim) -> list[Tolerance]:
        policies = self._providers.of(claim.spec.node_class_ref.to_model()).repair_policies()
        return [(each.condition_type, each.condition_status, each.toleration) for each in policies]

    async def _replace(self, known: Ailment) -> None:
        claim = self._state.nodeclaims.get(known.node)
        fresh = None if claim is None else await self._claims.get(claim.name, claim.metadata.uid)
        if fresh is None or deleted_at(fresh) is not None or not await self._both_say_so(fresh):
            return
        now = self._clock.now()
        lasted = format_duration(round(now - known.since))
        message = f"node condition {known.condition} has been {known.status} for {lasted}"
        reason = UNREACHABLE if known.status == UNKNOWN else UNHEALTHY
        log.warning("%s is replaced: %s", fresh.name, message)
        self._freeze.check()  # strictly after everything that takes time
        await self._claims.end_by(fresh, now + self._settings.repair_drain, reason, message)

    async def _both_say_so(self, claim: NodeClaim) -> bool:
        """Whether the node is still broken for the API server, and the provider knows what became of its machine."""
        try:
            body = await self._client.get(NODES, claim.name)
        except NotFoundError:
            return False
        now = ailment(decode_node(msgspec.json.encode(body)), claim.pool, self._tolerances(claim))
        if now is None or now.due > self._clock.now():
            return False
        try:
            await self._providers.of(claim.spec.node_class_ref.to_model()).get(ProviderID(claim.status.provider_id))
        except MachineNotFoundError:
            log.warning("%s: its machine is gone", claim.name)
        return True


def _repaired(claim: NodeClaim) -> str | None:
    """Why it is being repaired; None if it isn't."""
    reason = find_condition(claim.status.conditions, DISRUPTION_REASON)
    if deleted_at(claim) is None or reason is None or reason.reason not in (UNHEALTHY, UNREACHABLE):
        return None
    return reason.reason
