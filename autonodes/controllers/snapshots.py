"""The snapshot that the planner sees: the caches and the providers' catalogues at one moment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from autonodes.api.conditions import READY, is_true
from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodepool import NodePool
from autonodes.controllers.claims import created_at, deleted_at, has_ended
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.nodeoverlays import NodeOverlays
from autonodes.controllers.providers import NodeClassRef, Providers
from autonodes.controllers.roomkeeping import RoomKeeping
from autonodes.controllers.runaway import Runaway
from autonodes.controllers.settings import ControllerSettings
from autonodes.core import model
from autonodes.core.availability import Availability, withheld
from autonodes.core.clock import Clock
from autonodes.core.defaultspread import DefaultSpread
from autonodes.core.displacement import with_displaced
from autonodes.core.errors import AutonodesError, ConfigError
from autonodes.core.model import InstanceType, PodUID, Snapshot
from autonodes.core.requirements import Requirements
from autonodes.core.sharing import shared
from autonodes.core.volumes import with_volumes
from autonodes.kube.cluster import ClusterState

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """A snapshot and what is missing in it.

    :param left_out: pool → why nothing can be bought from it now
    :param headroom_known: whether all buffers' pods are in the snapshot; as long as they aren't, an empty node may be
        somebody's headroom
    """

    snapshot: Snapshot
    left_out: Mapping[str, str]
    headroom_known: bool


class Snapshots:
    """:param availability: which offerings are left alone for a while
    :param runaway: which pools must not buy now
    :param settings: what is set for all pools together
    """

    def __init__(
        self,
        state: ClusterState,
        providers: Providers,
        overlays: NodeOverlays,
        buffers: RoomKeeping,
        freeze: Freeze,
        clock: Clock,
        *,
        availability: Availability,
        runaway: Runaway,
        settings: ControllerSettings,
    ) -> None:
        self._state, self._providers, self._overlays, self._buffers = state, providers, overlays, buffers
        self._freeze, self._clock, self._settings = freeze, clock, settings
        self._availability, self._runaway = availability, runaway
        self._claims: dict[str, tuple[NodeClaim, model.Claim]] = {}
        self._spread = DefaultSpread(settings.default_spread)

    async def take(self, nominations: Mapping[PodUID, str]) -> View:
        """What is there now. Everything from the caches is of one moment, after the providers have answered.

        A pool whose provider does not answer, or whose node class can't be used, is left out: nothing is bought there
        as long as what it offers can't be known; its nodes and claims stay in.

        :raises FrozenError: the cluster can't be counted
        """
        catalogues, faults = await self._catalogues()
        self._freeze.check()
        pools: list[model.NodePool] = []
        static_pools: list[model.NodePool] = []
        instance_types: dict[str, tuple[InstanceType, ...]] = {}
        left_out: dict[str, str] = {}
        left_out.update(self._state.nodepools.malformed)
        stopped = self._runaway.look()
        for pool in self._pools():
            is_static = pool.spec.replicas is not None
            ref = pool.spec.template.spec.node_class_ref.to_model()
            try:
                converted = pool.to_model()
                shown = [shared(each, converted.labels) for each in catalogues.get(ref, ())]
                types = self._overlays.applied(converted, shown)
                types = self._availability.applied(pool.name, types, self._clock.now())
            except ConfigError as error:
                if not is_static:
                    left_out[pool.name] = str(error)
                continue
            if ref in catalogues:
                (static_pools if is_static else pools).append(converted)
                if pool.name in stopped:
                    types, left_out[pool.name] = withheld(types), stopped[pool.name]
                instance_types[pool.name] = types
            elif not is_static:
                left_out[pool.name] = faults.get(ref, "its node class is new")
        snapshot = self._snapshot(tuple(pools), tuple(static_pools), instance_types, nominations)
        return View(snapshot, left_out, self._buffers.settled)

    def _pools(self) -> list[NodePool]:
        """Those that pods may buy from, and static ones (with ``replicas``) that may buy for themselves; none of which
        only an older version could be read."""
        pools = [
            pool
            for pool in self._state.nodepools.items.values()
            if pool.metadata.deletion_timestamp is None
            and pool.name not in self._state.nodepools.malformed
            and (pool.spec.replicas is None or is_true(pool.status.conditions, READY))
        ]
        return sorted(pools, key=lambda pool: pool.name)

    async def _catalogues(self) -> tuple[dict[NodeClassRef, tuple[InstanceType, ...]], dict[NodeClassRef, str]]:
        found: dict[NodeClassRef, tuple[InstanceType, ...]] = {}
        faults: dict[NodeClassRef, str] = {}
        for ref in sorted({pool.spec.template.spec.node_class_ref.to_model() for pool in self._pools()}):
            try:
                found[ref] = tuple(await self._providers.source(ref).instance_types())
            except AutonodesError as error:
                faults[ref] = str(error)
        return found, faults

    def _snapshot(
        self,
        pools: tuple[model.NodePool, ...],
        static_pools: tuple[model.NodePool, ...],
        instance_types: Mapping[str, tuple[InstanceType, ...]],
        nominations: Mapping[PodUID, str],
    ) -> Snapshot:
        snapshot = Snapshot(
            now=self._clock.now(),
            pods=self._pods(),
            nodes=tuple(self._state.nodes.items.values()),
            claims=self.claims(),
            pools=pools,
            instance_types=instance_types,
            daemonsets=tuple(self._state.daemonsets.items.values()),
            namespaces=dict(self._state.namespaces.items),
            groups=(*self._state.podgroups.contents(), *self._buffers.groups()),
            devices=self._state.devices.contents(),
            limits=self._settings.limits,
            preference_policy=self._settings.preference_policy,
            min_values_policy=self._settings.min_values_policy,
            static_pools=static_pools,
            nominations=nominations,
        )
        return with_volumes(with_displaced(snapshot), self._state.storage.contents())

    def _pods(self) -> tuple[model.Pod, ...]:
        pods = (*(pod for pod in self._state.pods.items.values() if not pod.terminal), *self._buffers.pods())
        workloads = self._state.workloads
        return pods if workloads is None else self._spread.applied(pods, workloads.contents())

    def claims(self) -> tuple[model.Claim, ...]:
        """All that something is or may be behind, as the planner counts them; not those that only somebody else's
        finalizer holds."""
        present = {name: claim for name, claim in self._state.nodeclaims.items.items() if not has_ended(claim)}
        known = {name: entry for name, entry in self._claims.items() if present.get(name) is entry[0]}
        for name, claim in present.items():
            if name not in known:
                known[name] = (claim, _converted(claim))
        self._claims = known
        return tuple(known[name][1] for name in sorted(known))


def _converted(claim: NodeClaim) -> model.Claim:
    """One that makes no sense (written by hand) still counts, as the largest machine that its pool could buy."""
    try:
        return claim.to_model()
    except ConfigError as error:
        log.warning("NodeClaim %s: %s", claim.name, error)
        return model.Claim(
            name=claim.name,
            uid=claim.metadata.uid,
            pool=claim.pool,
            requirements=Requirements(),
            provider_id=claim.status.provider_id,
            node_name=claim.status.node_name,
            created_at=created_at(claim),
            deleted_at=deleted_at(claim),
        )
