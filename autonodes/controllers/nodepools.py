"""NodePools: the template's hash as an annotation, and a status that says whether a pool can be used and what it has.

``Ready`` is the sum of ValidationSucceeded and NodeClassReady; pods buy only from a pool that is ready.
NodeRegistrationHealthy warns; NodesUsable says when a pool stops buying because its new nodes are of no use (see
`runaway`). Changes that come in a flood (pods of a large batch become nodes) are one write a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from autonodes.api.conditions import Condition, ConditionStatus, find_condition, set_condition, set_ready, to_json
from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodepool import (
    HASH_VERSION,
    NODE_CLASS_READY,
    NODE_REGISTRATION_HEALTHY,
    NODES_USABLE,
    READY_DEPENDENTS,
    VALIDATION_SUCCEEDED,
    NodePool,
)
from autonodes.api.validation import explain
from autonodes.controllers.claims import deleted_at
from autonodes.controllers.providers import GROUP, Providers
from autonodes.controllers.registrationhealth import RegistrationHealth
from autonodes.controllers.runaway import Runaway
from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.workqueue import WorkQueue
from autonodes.core import deadlines, labels, purchaserate
from autonodes.core.clock import Clock
from autonodes.core.errors import ConfigError
from autonodes.core.model import Node
from autonodes.core.quantities import format_resources, parse_resources
from autonodes.core.resources import Resources, add
from autonodes.kube.cache import Change
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import NODEPOOLS
from autonodes.provider import NodeClassNotReadyError

_DELAY: Final = 1.0
"""Seconds in which changes of a pool's nodes are collected."""

_INVALID: Final = "NodePoolValidationFailed"


class NodePools:
    def __init__(
        self,
        client: KubeClient,
        state: ClusterState,
        providers: Providers,
        health: RegistrationHealth,
        runaway: Runaway,
        settings: ControllerSettings,
        clock: Clock,
    ) -> None:
        self._client, self._state, self._providers, self._clock = client, state, providers, clock
        self._health, self._settings = health, settings
        self._runaway = runaway
        health.changed = runaway.changed = self.changed
        self._queue = WorkQueue("NodePool", self._look, clock)

    def subscribe(self) -> None:
        """Follow the claims and nodes, and pools that can't be read."""
        self._state.nodepools.subscribe_malformed(self.changed)
        self._state.nodeclaims.subscribe(self._claim_changed)
        self._state.nodes.subscribe(self._node_changed)

    def changed(self, name: str) -> None:
        """Look at it now."""
        self._queue.add(name)

    def all_changed(self) -> None:
        """Something that all pools may depend on changed: a node class."""
        for name in self._state.nodepools.items:
            self._queue.add(name)

    async def run(self) -> None:
        """Until cancelled."""
        await self._queue.run()

    def _claim_changed(self, change: Change[NodeClaim]) -> None:
        claim = change.new or change.old
        if claim is not None and claim.pool:
            self._queue.add(claim.pool, after=_DELAY)

    def _node_changed(self, change: Change[Node]) -> None:
        node = change.new or change.old
        pool = node.labels.get(labels.NODE_POOL) if node is not None else None
        if pool and (change.old is None or change.new is None or change.old.capacity != change.new.capacity):
            self._queue.add(pool, after=_DELAY)

    async def _look(self, name: str) -> None:
        try:
            body = await self._client.get(NODEPOOLS, name)
        except NotFoundError:
            self._queue.forget(name)
            self._health.start_afresh(name)
            return
        try:
            pool = NodePool.from_api(body)
        except ValidationError as error:
            await self._refuse(body, "; ".join(map(str, explain(error, NodePool))))
            return
        if pool.spec.template.spec.node_class_ref.group != GROUP:
            return
        pool = await self._annotated(pool)
        conditions = self._conditions(pool)
        nodes, resources = self._count(name)
        shown = {**format_resources(resources), "nodes": str(nodes)}
        before = pool.status
        if (conditions, nodes, shown) != (before.conditions, before.nodes, before.resources):
            await self._write(pool, conditions, nodes, shown)

    async def _refuse(self, body: Mapping[str, Any], text: str) -> None:
        """One that the schema lets pass and that can't be read all the same: nothing of it counts."""
        now, generation = self._clock.now(), body["metadata"].get("generation")
        before = tuple(map(Condition.model_validate, (body.get("status") or {}).get("conditions") or ()))
        after = set_condition(
            before,
            VALIDATION_SUCCEEDED,
            "False",
            now=now,
            reason=_INVALID,
            message=text,
            observed_generation=generation,
        )
        after = set_ready(after, READY_DEPENDENTS, now=now, observed_generation=generation)
        if after != before:
            shown = to_json(after)
            tied = {"uid": body["metadata"]["uid"], "resourceVersion": body["metadata"]["resourceVersion"]}
            patch = {"metadata": tied, "status": {"conditions": shown}}
            await self._client.merge_patch(NODEPOOLS, body["metadata"]["name"], patch, subresource="status")

    async def _annotated(self, pool: NodePool) -> NodePool:
        wanted = {labels.NODE_POOL_HASH: pool.hash(), labels.NODE_POOL_HASH_VERSION: HASH_VERSION}
        if wanted.items() <= pool.metadata.annotations.items():
            return pool
        patch = {"metadata": {**_tied(pool), "annotations": wanted}}
        return NodePool.from_api(await self._client.merge_patch(NODEPOOLS, pool.name, patch))

    def _conditions(self, pool: NodePool) -> tuple[Condition, ...]:
        now, generation = self._clock.now(), pool.metadata.generation
        conditions = pool.status.conditions
        verdicts = {
            VALIDATION_SUCCEEDED: _validation(pool, self._settings),
            NODE_CLASS_READY: self._node_class(pool),
            NODE_REGISTRATION_HEALTHY: self._registration(pool),
            **self._usable(pool),
        }
        for type_, (status, reason, message) in verdicts.items():
            conditions = set_condition(
                conditions, type_, status, now=now, reason=reason, message=message, observed_generation=generation
            )
        return set_ready(conditions, READY_DEPENDENTS, now=now, observed_generation=generation)

    def _node_class(self, pool: NodePool) -> tuple[ConditionStatus, str, str]:
        try:
            self._providers.source(pool.spec.template.spec.node_class_ref.to_model())
        except NodeClassNotReadyError as error:
            return "False", "NodeClassNotReady", str(error)
        return "True", "", ""

    def _registration(self, pool: NodePool) -> tuple[ConditionStatus, str, str]:
        known = find_condition(pool.status.conditions, NODE_REGISTRATION_HEALTHY)
        if known is not None and known.observed_generation not in (None, pool.metadata.generation):
            self._health.start_afresh(pool.name)
            known = None
        match self._health.healthy(pool.name):
            case True:
                return "True", "", ""
            case False:
                return "False", "RegistrationFailed", "half of the last machines or more did not register as nodes"
        if known is None:
            return "Unknown", "AwaitingReconciliation", "no machine was launched since the pool changed"
        return known.status, known.reason, known.message

    def _usable(self, pool: NodePool) -> dict[str, tuple[ConditionStatus, str, str]]:
        """Nothing, as long as its new nodes could be used; it says so afterwards."""
        if (why := self._runaway.stopped.get(pool.name)) is not None:
            return {NODES_USABLE: ("False", "PurchasesStopped", why)}
        known = find_condition(pool.status.conditions, NODES_USABLE)
        return {} if known is None else {NODES_USABLE: ("True", "", "")}

    def _count(self, name: str) -> tuple[int, Resources]:
        """The pool's nodes, those on their way included, and what they have together."""
        claims = [claim for claim in self._state.nodeclaims.items.values() if claim.pool == name]
        present = [claim for claim in claims if deleted_at(claim) is None]
        return len(present), add(*map(self._capacity, present))

    def _capacity(self, claim: NodeClaim) -> Resources:
        node = self._state.nodes.get(claim.name)
        if node is not None and node.capacity:
            return node.capacity
        return parse_resources(claim.status.capacity, path="status.capacity", capacity=True)

    async def _write(
        self, pool: NodePool, conditions: tuple[Condition, ...], nodes: int, resources: dict[str, str]
    ) -> None:
        gone = dict.fromkeys(pool.status.resources.keys() - resources.keys())
        status: dict[str, Any] = {
            "conditions": to_json(conditions),
            "nodes": nodes,
            "resources": {**gone, **resources},
        }
        patch = {"metadata": _tied(pool), "status": status}
        await self._client.merge_patch(NODEPOOLS, pool.name, patch, subresource="status")


def _validation(pool: NodePool, settings: ControllerSettings) -> tuple[ConditionStatus, str, str]:
    annotations = pool.metadata.annotations
    faults = (
        *deadlines.of_pool(annotations, settings.deadlines)[1],
        *purchaserate.of_pool(annotations, settings.purchase_rate)[1],
    )
    try:
        pool.to_model()
    except ConfigError as error:
        faults = (error, *faults)
    if faults:
        return "False", _INVALID, "; ".join(map(str, faults))
    return "True", "", ""


def _tied(pool: NodePool) -> dict[str, str]:
    return {"uid": pool.metadata.uid, "resourceVersion": pool.metadata.resource_version}
