"""The ``Drifted`` condition of claims: whether each is still what its pool would buy now.

All claims are looked at in rounds: soon after a pool or a node class changed, after a claim was launched, and every
five minutes, because a provider may see what nobody tells (a new image). A round asks each provider once for all its
machines; the condition is written where it differs. What can't be known (a provider that does not answer, a node class
that is not ready) leaves the condition as it is: what was not seen has not changed.

Drift itself is `autonodes.core.drift`'s decision; what follows from it is `disruption`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from autonodes.api.conditions import find_condition
from autonodes.api.nodeclaim import DRIFTED, LAUNCHED, NodeClaim
from autonodes.api.nodepool import HASH_VERSION
from autonodes.controllers.claims import Claims, Mark, deleted_at
from autonodes.controllers.providers import GROUP, NodeClassRef, Providers, Source
from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.waiting import wait_for_event
from autonodes.core import model
from autonodes.core.clock import Clock
from autonodes.core.drift import Drift, drift_of
from autonodes.core.errors import AutonodesError
from autonodes.kube.cache import Change
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import ConflictError
from autonodes.provider import Machine

log = logging.getLogger(__name__)

_APART: Final = 1.0
"""Seconds between two rounds at least: a rollout's changes come in a flood."""


class Drifting:
    def __init__(
        self, state: ClusterState, claims: Claims, providers: Providers, *, clock: Clock, settings: ControllerSettings
    ) -> None:
        self._state, self._claims, self._providers = state, claims, providers
        self._clock, self._settings = clock, settings
        self._changed = asyncio.Event()

    def subscribe(self) -> None:
        """Follow the pools and claims."""
        self._state.nodepools.subscribe(lambda _: self.changed())
        self._state.nodeclaims.subscribe(self._claim_changed)

    def changed(self) -> None:
        """Something that drift depends on changed: look soon."""
        self._changed.set()

    def _claim_changed(self, change: Change[NodeClaim]) -> None:
        was = change.old is not None and change.old.condition(LAUNCHED)
        if change.new is not None and change.new.condition(LAUNCHED) and not was:
            self.changed()

    async def run(self) -> None:
        """Round after round, until cancelled."""
        while True:
            self._changed.clear()
            try:
                await self.look()
            except AutonodesError as error:
                log.warning("drift is not known now: %s", error)
            except Exception:
                log.exception("drift: a defect")
            await self._clock.sleep(_APART)
            await wait_for_event(self._changed, self._settings.drift_interval, self._clock)

    async def look(self) -> None:
        """One round.

        :raises ApiError: the API server can't be asked
        """
        by_class: dict[NodeClassRef, list[NodeClaim]] = {}
        for claim in tuple(self._state.nodeclaims.items.values()):
            ref = claim.spec.node_class_ref.to_model()
            if ref[0] == GROUP and claim.condition(LAUNCHED) and deleted_at(claim) is None:
                by_class.setdefault(ref, []).append(claim)
        machines: dict[str, Mapping[str, Machine]] = {}
        for ref, claims in sorted(by_class.items()):
            try:
                source = self._providers.source(ref)
                if ref[1] not in machines:
                    machines[ref[1]] = {each.provider_id: each for each in await source.provider.list()}
                types = await source.instance_types()
            except AutonodesError as error:
                log.warning("drift of the nodes of %s %s is not known now: %s", ref[1], ref[2], error)
                continue
            await self._look_at(claims, source, types, machines[ref[1]])

    async def _look_at(
        self,
        claims: Iterable[NodeClaim],
        source: Source,
        types: Sequence[model.InstanceType],
        machines: Mapping[str, Machine],
    ) -> None:
        for claim in claims:
            try:
                found = self._of_pool(claim, types)
                if found is None and (machine := machines.get(claim.status.provider_id)) is not None:
                    found = await _of_provider(source, machine)
            except AutonodesError as error:
                log.warning("drift of %s is not known now: %s", claim.name, error)
                continue
            await self._show(claim, found)

    def _of_pool(self, claim: NodeClaim, types: Sequence[model.InstanceType]) -> Drift | None:
        pool = self._state.nodepools.get(claim.pool)
        if pool is None or pool.metadata.deletion_timestamp is not None:
            return None
        if pool.spec.template.spec.node_class_ref.to_model() != claim.spec.node_class_ref.to_model():
            types = ()  # these are another class's; the template's hash tells that it changed
        return drift_of(claim.to_model(), pool.to_model(), types, hash_version=HASH_VERSION)

    async def _show(self, claim: NodeClaim, found: Drift | None) -> None:
        if not _differs(claim, found):
            return
        fresh = await self._claims.get(claim.name, claim.metadata.uid)
        if fresh is None or deleted_at(fresh) is not None:
            return
        mark = Mark(DRIFTED, "True", found.reason, found.message) if found else Mark(DRIFTED, "False", "NotDrifted")
        try:
            await self._claims.mark(fresh, mark)
        except ConflictError:
            self.changed()  # somebody wrote in between: look again
            return
        if found is not None:
            log.info("%s has drifted: %s: %s", claim.name, found.reason, found.message)
            self._claims.report(claim, "Drifted", found.message)


def _differs(claim: NodeClaim, found: Drift | None) -> bool:
    shown = find_condition(claim.status.conditions, DRIFTED)
    if found is None:
        return shown is not None and shown.status == "True"
    return shown is None or (shown.status, shown.reason) != ("True", found.reason)


async def _of_provider(source: Source, machine: Machine) -> Drift | None:
    reason = await source.provider.is_drifted(machine, source.node_class)
    return Drift(reason, "the machine no longer is what its node class asks for") if reason else None
