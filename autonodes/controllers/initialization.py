"""From a registered node to one that counts: ready, its startup taints gone, its devices there.

Until then the node is in flight: pods are planned onto it, but it is no candidate for disruption. A node whose GPU
never appears stays uninitialized and says which resource is missing.
"""

from __future__ import annotations

import logging

from autonodes.api.nodeclaim import INITIALIZED, NodeClaim
from autonodes.controllers.claims import Claims, Mark
from autonodes.controllers.registration import node_of
from autonodes.core import labels
from autonodes.core.lifecycle import Phase
from autonodes.core.model import Node
from autonodes.core.taints import ephemeral, format_taint
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.resources import NODES

log = logging.getLogger(__name__)


class Initialization:
    def __init__(self, claims: Claims, client: KubeClient, state: ClusterState) -> None:
        self._claims, self._client, self._state = claims, client, state

    async def run(self, claim: NodeClaim) -> NodeClaim:
        """:raises ApiError: the API server can't be asked, or the claim changed meanwhile"""
        if claim.phase is not Phase.REGISTERED:
            return claim
        node = node_of(claim, self._state.nodes.items)
        missing = ("NodeNotFound", "Node not registered with cluster") if node is None else lacking(claim, node)
        if missing is not None:
            return await self._claims.mark(claim, Mark(INITIALIZED, "Unknown", *missing))
        await self._client.merge_patch(NODES, claim.name, {"metadata": {"labels": {labels.INITIALIZED: "true"}}})
        claim = await self._claims.mark(claim, Mark(INITIALIZED))
        log.info("initialized %s", claim.name)
        return claim


def lacking(claim: NodeClaim, node: Node) -> tuple[str, str] | None:
    """Reason and message of the first thing that a node lacks, None if it is initialized.

    A taint of ours that marks a node on its way out is no startup taint; the kubelet shows a device plugin's resource
    as 0 until the plugin has registered.
    """
    if not node.ready:
        return "NodeNotReady", "Node status is NotReady"
    startup = {(taint.key, taint.effect) for taint in claim.spec.startup_taints}
    for taint in node.taints:
        if (taint.key, taint.effect) in startup:
            return "StartupTaintsExist", f'StartupTaint "{format_taint(taint)}" still exists'
        if ephemeral(taint):
            return "KnownEphemeralTaintsExist", f'KnownEphemeralTaint "{format_taint(taint)}" still exists'
    for name, amount in claim.to_model().requests.items():
        shown = node.allocatable.get(name, 0)
        if amount > 0 and shown <= 0:
            return "ResourceNotRegistered", f'Resource "{name}" was requested but not registered'
        if "/" in name and shown < amount:  # devices come all or not at all; the kubelet rounds cores and bytes
            return "ResourceNotRegistered", f'Resource "{name}": {amount} were requested, {shown} registered'
    return None
