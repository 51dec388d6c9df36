"""What the controllers read from and write to Nodes and the pods on them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from typing import Final, Literal

import msgspec

from autonodes.api.nodeclaim import NodeClaim
from autonodes.controllers.draining import DISRUPTED
from autonodes.core import labels
from autonodes.core.model import Node, Pod
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.decoding import decode_node, decode_pod
from autonodes.kube.errors import ConflictError, NotFoundError
from autonodes.kube.events import EventRecorder, ObjectReference
from autonodes.kube.resources import NODES, PODS

EXCLUDE_FROM_LOAD_BALANCERS: Final = "node.kubernetes.io/exclude-from-external-load-balancers"


class Nodes:
    def __init__(self, client: KubeClient, state: ClusterState, events: EventRecorder) -> None:
        self.client = client
        self._state, self._events = state, events

    def of(self, claim: NodeClaim, machines: Collection[str]) -> Node | None:
        """The claim's node, registered or not: it bears the claim's name and runs on one of its machines."""
        node = self._state.nodes.get(claim.name)
        return node if node is not None and node.provider_id in machines else None

    def pods(self, node_name: str) -> Iterable[Pod]:
        """The pods on a node, as the cache has them."""
        return tuple(self._state.pods_on(node_name).values())

    async def pods_now(self, node_name: str) -> list[Pod]:
        """The pods on a node, as the API server has them.

        :raises ApiError: it can't be known
        """
        pages = self.client.pages(PODS, field_selector=f"spec.nodeName={node_name}")
        return [decode_pod(bytes(raw)) async for page in pages for raw in page.items or ()]

    async def cordon(self, node: Node) -> None:
        """Taint it as on its way out: nothing new is scheduled there, and load balancers let go of it.

        :raises ConflictError: it changed meanwhile: look again
        """
        if DISRUPTED in node.taints:
            return
        with contextlib.suppress(NotFoundError):
            body = await self.client.get(NODES, node.name)
            others = [taint for taint in body["spec"].get("taints") or () if taint["key"] != DISRUPTED.key]
            patch = {
                "metadata": {
                    "resourceVersion": body["metadata"]["resourceVersion"],
                    "labels": {EXCLUDE_FROM_LOAD_BALANCERS: "karpenter"},
                },
                "spec": {"taints": [*others, {"key": DISRUPTED.key, "effect": DISRUPTED.effect}]},
            }
            await self.client.merge_patch(NODES, node.name, patch)

    async def uncordon(self, node_name: str) -> None:
        """Take the taint off again.

        :raises ConflictError: it changed meanwhile: look again
        """
        with contextlib.suppress(NotFoundError):
            body = await self.client.get(NODES, node_name)
            kept = [taint for taint in body["spec"].get("taints") or () if taint["key"] != DISRUPTED.key]
            patch = {
                "metadata": {
                    "resourceVersion": body["metadata"]["resourceVersion"],
                    "labels": {EXCLUDE_FROM_LOAD_BALANCERS: None},
                },
                "spec": {"taints": kept},
            }
            await self.client.merge_patch(NODES, node_name, patch)

    async def release_pods(self, claim: NodeClaim, machines: Collection[str]) -> None:
        """Delete by force what is left on the Node of a machine that does not exist any more, as the provider has said.

        The API server is the other witness: as long as it counts the kubelet as alive, pods are left to Kubernetes'
        own collector. Nobody else could confirm their end, and a StatefulSet waits for it.
        """
        with contextlib.suppress(NotFoundError):
            node = decode_node(msgspec.json.encode(await self.client.get(NODES, claim.name)))
            if node.ready or node.provider_id not in machines:
                return
            for pod in await self.pods_now(node.name):
                with contextlib.suppress(NotFoundError, ConflictError):
                    await self.client.delete(PODS, pod.name, pod.namespace, uid=pod.uid, grace_period=0)

    async def remove(self, claim: NodeClaim, machines: Collection[str]) -> None:
        """Remove the Node of a machine that is no more.

        :raises ConflictError: it changed meanwhile: look again
        """
        with contextlib.suppress(NotFoundError):
            body = await self.client.get(NODES, claim.name)
            if body["spec"].get("providerID", "") in machines:
                await self.delete(claim.name, uid=body["metadata"]["uid"])

    async def delete(self, name: str, *, uid: str) -> None:
        """Delete a Node and take our finalizer off.

        :raises ConflictError: it changed meanwhile: look again
        """
        with contextlib.suppress(NotFoundError):
            await self.client.delete(NODES, name, uid=uid)
            body = await self.client.get(NODES, name)
            kept = [each for each in body["metadata"].get("finalizers") or () if each != labels.TERMINATION_FINALIZER]
            tied = {"uid": uid, "resourceVersion": body["metadata"]["resourceVersion"]}
            await self.client.merge_patch(NODES, name, {"metadata": {**tied, "finalizers": kept}})

    def report(self, node: Node, reason: str, message: str, *, type: Literal["Normal", "Warning"] = "Normal") -> None:
        """An event on the node."""
        self._events.record(ObjectReference.of_node(node), type=type, reason=reason, message=message)
