"""Nodes that are kept for debugging: cordoned, and left alone by what would take them away.

A node that `autonodes.core.preservation` finds preserved becomes unschedulable and gets the annotation
``karpenter.sh/do-not-disrupt``; when its time is over, what was set here is taken back, and only that: which parts
these are is written on the node, in ``autonodes.io/preserving``. Deadlines and repair ask `until` and `preserves`
themselves. An annotation that can't be read preserves nothing, and an event says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from autonodes.api.nodeclaim import NodeClaim
from autonodes.controllers.claims import Claims, deleted_at
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.providers import GROUP
from autonodes.core.clock import Clock
from autonodes.core.errors import AutonodesError, ConfigError
from autonodes.core.labels import DO_NOT_DISRUPT, PRESERVE_UNTIL, PRESERVING
from autonodes.core.model import Node
from autonodes.core.preservation import preserved_until
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import ConflictError, NotFoundError
from autonodes.kube.resources import NODES

log = logging.getLogger(__name__)

_INTERVAL: Final = 5.0
"""Seconds between two looks at all nodes; a look at the caches only, if there is nothing to be done."""

_CORDON: Final = "cordon"
_PROTECT: Final = "do-not-disrupt"


class Preserving:
    def __init__(self, client: KubeClient, state: ClusterState, claims: Claims, freeze: Freeze, clock: Clock) -> None:
        self._client, self._state, self._claims, self._freeze = client, state, claims, freeze
        self._clock = clock
        self._told: dict[str, str] = {}

    def until(self, claim: NodeClaim) -> float:
        """The moment until which the claim's node is preserved; 0 if it is not."""
        return self._read(claim)[0]

    def preserves(self, claim: NodeClaim) -> bool:
        """Whether its node is to be left alone now."""
        return self._clock.now() < self.until(claim)

    def _read(self, claim: NodeClaim) -> tuple[float, tuple[ConfigError, ...]]:
        node = self._state.nodes.get(claim.name)
        return preserved_until(claim.metadata.annotations, node.annotations if node is not None else {})

    async def run(self) -> None:
        """Look after look, until cancelled."""
        while True:
            try:
                await self.look()
            except AutonodesError as error:
                log.warning("preserved nodes are looked at again: %s", error)
            except Exception:
                log.exception("preserving: a defect")
            await self._clock.sleep(_INTERVAL)

    async def look(self) -> None:
        """Cordon what is to be preserved, and let go of what no longer is.

        :raises AutonodesError: not now
        """
        for claim in tuple(self._state.nodeclaims.items.values()):
            node = self._state.nodes.get(claim.name)
            if node is None or deleted_at(claim) is not None or claim.spec.node_class_ref.group != GROUP:
                continue
            if PRESERVING not in node.annotations and not _asks(claim.metadata.annotations, node.annotations):
                continue
            until, faults = self._read(claim)
            self._tell(claim, "; ".join(map(str, faults)))
            is_preserved = self._clock.now() < until
            if is_preserved != (PRESERVING in node.annotations):
                await self._write(node, _preserve if is_preserved else _let_go)

    def _tell(self, claim: NodeClaim, faults: str) -> None:
        """Once for each fault."""
        if faults and self._told.get(claim.name) != faults:
            self._claims.report(claim, "InvalidPreservation", f"Ignored: {faults}", type="Warning")
        self._told[claim.name] = faults

    async def _write(self, node: Node, change: Any) -> None:
        self._freeze.check()
        try:
            body = await self._client.get(NODES, node.name)
            patch = change(body)
            patch["metadata"]["resourceVersion"] = body["metadata"]["resourceVersion"]
            await self._client.merge_patch(NODES, node.name, patch)
        except (ConflictError, NotFoundError):
            return  # the next look sees how it is now
        log.info("node %s: %s", node.name, "is preserved" if change is _preserve else "is no longer preserved")


def _asks(*annotations: Mapping[str, str]) -> bool:
    return any(PRESERVE_UNTIL in each for each in annotations)


def _preserve(body: Mapping[str, Any]) -> dict[str, Any]:
    annotations = body["metadata"].get("annotations") or {}
    done = [_CORDON] if not body["spec"].get("unschedulable") else []
    done += [_PROTECT] if DO_NOT_DISRUPT not in annotations else []
    added = {PRESERVING: ",".join(done), **({DO_NOT_DISRUPT: "true"} if _PROTECT in done else {})}
    return {"metadata": {"annotations": added}, "spec": {"unschedulable": True}}


def _let_go(body: Mapping[str, Any]) -> dict[str, Any]:
    done = ((body["metadata"].get("annotations") or {}).get(PRESERVING) or "").split(",")
    removed: dict[str, Any] = {PRESERVING: None, **({DO_NOT_DISRUPT: None} if _PROTECT in done else {})}
    return {"metadata": {"annotations": removed}, "spec": {"unschedulable": None} if _CORDON in done else {}}
