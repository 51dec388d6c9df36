"""From a machine to a node of the cluster.

A Node is a claim's when its ``spec.providerID`` is the one that the provider gave, and it must bear the claim's name:
the credential was good for no other. It gets the claim's labels, annotations and taints (the kubelet may not set all
of them itself), the claim as owner and the finalizer; only then, in the same write or a later one, it loses the
``karpenter.sh/unregistered`` taint that has kept every pod away so far (`nominating` says when). The credential has
served and is deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from autonodes.api.nodeclaim import REGISTERED, NodeClaim
from autonodes.controllers.claims import Claims, Mark
from autonodes.controllers.joining import Joiner
from autonodes.controllers.registrationhealth import RegistrationHealth
from autonodes.core import labels
from autonodes.core.lifecycle import Phase
from autonodes.core.model import Node, Taint
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.resources import NODES

log = logging.getLogger(__name__)

DO_NOT_SYNC_TAINTS = "karpenter.sh/do-not-sync-taints"
"""Label of a Node whose taints somebody else manages."""

KOPF_ANNOTATIONS = "kopf.autonodes.io"
"""Prefix of what `operator` lets kopf remember on an object."""


def node_of(claim: NodeClaim, nodes: Mapping[str, Node]) -> Node | None:
    """The claim's node. Its name is the claim's; another node with the machine's id is none of ours."""
    node = nodes.get(claim.name)
    if node is None or not claim.status.provider_id:
        return None
    return node if node.provider_id == claim.status.provider_id else None


class Registration:
    """:param may_open: whether a node may take pods now; else its claim is woken when it may (see `nominating`)"""

    def __init__(
        self,
        claims: Claims,
        client: KubeClient,
        state: ClusterState,
        joiner: Joiner,
        health: RegistrationHealth,
        may_open: Callable[[Node], bool],
    ) -> None:
        self._claims, self._client, self._state = claims, client, state
        self._joiner, self._health, self._may_open = joiner, health, may_open

    async def run(self, claim: NodeClaim) -> NodeClaim:
        """:raises ApiError: the API server can't be asked, or node or claim changed meanwhile"""
        if claim.phase is not Phase.LAUNCHED:
            return claim
        node = node_of(claim, self._state.nodes.items)
        if node is None:
            reason, message = self._missing(claim)
            return await self._claims.mark(claim, Mark(REGISTERED, "Unknown", reason, message))
        may_open = self._may_open(node)
        if may_open or labels.REGISTERED not in node.labels:
            await self._adopt(claim, await self._client.get(NODES, node.name), guarded=not may_open)
        if not may_open:
            return claim
        await self._joiner.joined(claim)
        claim = await self._claims.mark(claim, Mark(REGISTERED), status={"nodeName": node.name})
        self._health.record(claim.pool, joined=True)
        log.info("registered %s", claim.name)
        return claim

    def _missing(self, claim: NodeClaim) -> tuple[str, str]:
        same_name = self._state.nodes.get(claim.name)
        if same_name is not None:
            found = same_name.provider_id or "none"
            return "ProviderIDMismatch", f"the node of this name has provider id {found}"
        strangers = [
            node.name for node in self._state.nodes.items.values() if node.provider_id == claim.status.provider_id
        ]
        if strangers:
            return "NodeNameMismatch", f"the machine registered as {strangers[0]}, and may only as {claim.name}"
        return "NodeNotFound", "Node not registered with cluster"

    async def _adopt(self, claim: NodeClaim, node: Mapping[str, Any], *, guarded: bool) -> None:
        """:param guarded: whether the guard stays, if it is there"""
        metadata, taints = node["metadata"], node["spec"].get("taints") or ()
        if not _is_registered(metadata) and not any(map(_is_guard, taints)):
            message = f"the node came without the taint {labels.UNREGISTERED_TAINT}: pods may have been there too early"
            self._claims.report(claim, "UnregisteredTaintMissing", message, type="Warning")
        patch = {
            "metadata": {
                "resourceVersion": metadata["resourceVersion"],
                "labels": {**claim.metadata.labels, labels.REGISTERED: "true"},
                "annotations": _synced_annotations(claim),
                "finalizers": _with(metadata.get("finalizers"), labels.TERMINATION_FINALIZER),
                "ownerReferences": _owned(metadata.get("ownerReferences"), claim),
            },
            "spec": {"taints": [*(filter(_is_guard, taints) if guarded else ()), *_taints(claim, metadata, taints)]},
        }
        await self._client.merge_patch(NODES, claim.name, patch)


def _is_registered(metadata: Mapping[str, Any]) -> bool:
    return labels.REGISTERED in (metadata.get("labels") or {})


def _is_guard(taint: Mapping[str, Any]) -> bool:
    return bool(taint["key"] == labels.UNREGISTERED_TAINT)


def _synced_annotations(claim: NodeClaim) -> dict[str, str]:
    """The claim's, but for those that say something about the object and not about what it stands for."""
    own = ("kubectl.kubernetes.io/", f"{KOPF_ANNOTATIONS}/", labels.REPLACES)
    return {key: value for key, value in claim.metadata.annotations.items() if not key.startswith(own)}


def _with(present: Iterable[str] | None, finalizer: str) -> list[str]:
    listed = list(present or ())
    return listed if finalizer in listed else [*listed, finalizer]


def _owned(present: Iterable[Mapping[str, Any]] | None, claim: NodeClaim) -> list[Mapping[str, Any]]:
    others = [owner for owner in present or () if owner.get("uid") != claim.metadata.uid]
    owner = {
        "apiVersion": claim.api_version,
        "kind": claim.kind,
        "name": claim.name,
        "uid": claim.metadata.uid,
        "blockOwnerDeletion": True,
    }
    return [*others, owner]


def _taints(
    claim: NodeClaim, metadata: Mapping[str, Any], present: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Those that are there, without the guard, and those of the claim. A second registration (the first one's last
    step was lost) adds none: a startup taint may have been taken off meanwhile."""
    kept = [taint for taint in present if not _is_guard(taint)]
    if _is_registered(metadata) or (metadata.get("labels") or {}).get(DO_NOT_SYNC_TAINTS) == "true":
        return kept
    have = {(taint["key"], taint["effect"]) for taint in kept}
    wanted = [taint.to_model() for taint in (*claim.spec.taints, *claim.spec.startup_taints)]
    return kept + [_shown(taint) for taint in wanted if (taint.key, taint.effect) not in have]


def _shown(taint: Taint) -> dict[str, str]:
    return {"key": taint.key, "effect": taint.effect, **({"value": taint.value} if taint.value else {})}
