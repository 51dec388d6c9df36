"""NodeOverlays: which of them hold, and what they make of instance types.

One look judges all overlays, since each may contradict any other; what it found stands in their ``ValidationSucceeded``
condition, and an overlay counts from the moment that this says so of the overlay as it is. So whoever asks (a plan, a
launch, another controller after a restart) goes by the same overlays, and by those that their status shows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from autonodes.api.conditions import ConditionStatus, set_condition, set_ready, to_json
from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodeoverlay import READY_DEPENDENTS, VALIDATION_SUCCEEDED, NodeOverlay
from autonodes.api.nodepool import NodePool
from autonodes.controllers.providers import Providers
from autonodes.controllers.workqueue import WorkQueue
from autonodes.core import model
from autonodes.core.clock import Clock
from autonodes.core.errors import AutonodesError, ConfigError
from autonodes.core.model import InstanceType, Resources
from autonodes.core.overlays import Overlay, contradictions, overlaid
from autonodes.core.sharing import shared
from autonodes.kube.cache import Change
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import NODEOVERLAYS

log = logging.getLogger(__name__)

_ALL: Final = "all"
"""The one key of the queue."""

_Verdict = tuple[ConditionStatus, str, str]


class NodeOverlays:
    def __init__(self, client: KubeClient, state: ClusterState, providers: Providers, clock: Clock) -> None:
        self._client, self._state, self._providers, self._clock = client, state, providers, clock
        self._queue = WorkQueue("NodeOverlay", self._judge, clock)

    def subscribe(self) -> None:
        """Follow the overlays and pools."""
        self._state.nodeoverlays.subscribe(self._overlay_changed)
        self._state.nodepools.subscribe(self._pool_changed)

    def changed(self) -> None:
        """Something that overlays are judged by changed: what a provider offers, say."""
        if self._state.nodeoverlays.items:
            self._queue.add(_ALL)

    async def run(self) -> None:
        """Until cancelled."""
        await self._queue.run()

    def applied(self, pool: model.NodePool, instance_types: Iterable[InstanceType]) -> tuple[InstanceType, ...]:
        """What a pool sells, by the overlays that hold now."""
        holding = [each.to_model() for each in self._state.nodeoverlays.items.values() if each.applies]
        return overlaid(holding, pool, instance_types) if holding else tuple(instance_types)

    def for_claim(self, claim: NodeClaim, instance_types: Iterable[InstanceType]) -> tuple[InstanceType, ...]:
        """What a claim's pool sells; as the provider says if the pool is gone."""
        pool = self._state.nodepools.get(claim.pool)
        return tuple(instance_types) if pool is None else self.applied(pool.to_model(), instance_types)

    def added(self, claim: NodeClaim, instance_type: InstanceType | None) -> Resources:
        """The resources that a machine of the type has by overlays alone."""
        if instance_type is None:
            return {}
        (corrected,) = self.for_claim(claim, [instance_type])
        known = instance_type.capacity
        return {name: amount for name, amount in corrected.capacity.items() if known.get(name) != amount}

    def _overlay_changed(self, change: Change[NodeOverlay]) -> None:
        if change.old is None or change.new is None or change.old.spec != change.new.spec or not change.new.applies:
            self._queue.add(_ALL)

    def _pool_changed(self, change: Change[NodePool]) -> None:
        if change.old is None or change.new is None or change.old.spec != change.new.spec:
            self.changed()

    async def _judge(self, key: str) -> None:
        verdicts = await self._verdicts()
        for name, verdict in verdicts.items():
            await self._show(name, *verdict)

    async def _verdicts(self) -> Mapping[str, _Verdict]:
        verdicts: dict[str, _Verdict] = {}
        readable: list[Overlay] = []
        for name, overlay in self._state.nodeoverlays.items.items():
            try:
                readable.append(overlay.to_model())
                verdicts[name] = "True", "", ""
            except ConfigError as error:
                verdicts[name] = "False", "RuntimeValidation", str(error)
        pools, instance_types = await self._catalogues()
        for name, rival in contradictions(readable, pools, instance_types).items():
            message = f"conflict with another overlay: {rival} has the same weight and changes the same"
            verdicts[name] = "False", "Conflict", message
        return verdicts

    async def _catalogues(self) -> tuple[list[model.NodePool], Mapping[str, tuple[InstanceType, ...]]]:
        """Of the pools whose providers answer; the others don't keep overlays from being judged."""
        pools: list[model.NodePool] = []
        instance_types: dict[str, tuple[InstanceType, ...]] = {}
        for name, pool in sorted(self._state.nodepools.items.items()):
            try:
                converted = pool.to_model()
                source = self._providers.source(converted.node_class)
                instance_types[name] = tuple(shared(each, converted.labels) for each in await source.instance_types())
            except AutonodesError as error:
                log.info("NodePool %s is left out of the judgement of overlays: %s", name, error)
            else:
                pools.append(converted)
        return pools, instance_types

    async def _show(self, name: str, status: ConditionStatus, reason: str, message: str) -> None:
        try:
            overlay = NodeOverlay.from_api(await self._client.get(NODEOVERLAYS, name))
        except NotFoundError:
            return
        now, generation = self._clock.now(), overlay.metadata.generation
        judged = self._state.nodeoverlays.get(name)
        if judged is None or judged.metadata.generation != generation:
            return  # what was judged is not what is there; its change brings the next look
        conditions = set_condition(
            overlay.status.conditions,
            VALIDATION_SUCCEEDED,
            status,
            now=now,
            reason=reason,
            message=message,
            observed_generation=generation,
        )
        conditions = set_ready(conditions, READY_DEPENDENTS, now=now, observed_generation=generation)
        if conditions != overlay.status.conditions:
            await self._client.merge_patch(NODEOVERLAYS, name, _status(overlay, conditions), subresource="status")


def _status(overlay: NodeOverlay, conditions: Iterable[Any]) -> dict[str, Any]:
    metadata = overlay.metadata
    return {
        "metadata": {"uid": metadata.uid, "resourceVersion": metadata.resource_version},
        "status": {"conditions": to_json(conditions)},
    }
