"""What happens on the cloud's machines: a kubelet each, that joins, runs what is bound to it and lets go of it.

There is one actor for all of them, and it schedules, if asked. It speaks to the real API server, as kubelets and, for
the taint of a node that is not ready yet, the node lifecycle controller would.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime

from autonodes.controllers.clock import SystemClock
from autonodes.core.clock import Clock
from autonodes.core.quantities import format_resources
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.errors import ApiError, NotFoundError
from autonodes.kube.resources import NODES, PODS
from autonodes.verify.cloud import Cloud

SCHEDULER = "at-once"
"""Name of the scheduler that this actor plays."""

_NOT_READY = "node.kubernetes.io/not-ready"


class Kubelets:
    """:param client: the administrator's"""

    def __init__(self, client: KubeClient, cloud: Cloud, clock: Clock | None = None) -> None:
        self._client, self._cloud = client, cloud
        self._clock = clock or SystemClock()
        self.join = True
        """Whether machines join."""
        self.answer_deletions = True
        """Whether pods that are to go are let go."""
        self.unready: set[str] = set()
        """Nodes whose kubelet is silent."""
        self.at_work = asyncio.Lock()
        """Who holds it stops the time: kubelets stay as they are, whatever the cloud says."""

    async def run(self) -> None:
        while True:
            with contextlib.suppress(ApiError):
                async with self.at_work:
                    await self._once()
            await self._pause()

    async def _pause(self) -> None:
        """Until the next look."""
        await asyncio.sleep(0.05)

    async def _nodes(self) -> Sequence[Object]:
        return await self._client.list(NODES)

    async def _pods(self) -> Sequence[Object]:
        return await self._client.list(PODS)

    def _has_booted(self, machine: Object) -> bool:
        return self.join

    def _lets_go(self, pod: Object) -> bool:
        """Whether a pod that is to go has stopped."""
        return self.answer_deletions

    async def _once(self) -> None:
        nodes = {node["metadata"]["name"]: node for node in await self._nodes()}
        machines = {record["node_name"]: record for record in self._cloud.records() if record["node_name"]}
        new = [name for name in machines.keys() - nodes.keys() if self._has_booted(machines[name])]
        await asyncio.gather(*(self._register(name, machines[name]) for name in new))
        ours = [node for node in nodes.values() if node["spec"].get("providerID", "").startswith("cloud://")]
        await asyncio.gather(*(self._beat(node, set(machines) - self.unready) for node in ours))
        await self._schedule(nodes)
        await self._run_pods(set(machines) - self.unready)

    async def _register(self, name: str, record: Object) -> None:
        taints = [{"key": key, "value": value, "effect": effect} for key, value, effect in record["taints"]]
        labels = {"kubernetes.io/hostname": name}
        await self._client.create(
            NODES,
            {
                "metadata": {"name": name, "labels": labels},
                "spec": {"providerID": record["provider_id"], "taints": taints},
                "status": {
                    "capacity": format_resources(record["capacity"]),
                    "allocatable": format_resources(record["allocatable"]),
                },
            },
        )

    async def _beat(self, node: Object, alive: set[str]) -> None:
        name, taints = node["metadata"]["name"], node["spec"].get("taints") or []
        ready = name in alive
        conditions = node.get("status", {}).get("conditions") or []
        wanted = "True" if ready else "Unknown"
        if not any(each["type"] == "Ready" and each["status"] == wanted for each in conditions):
            since = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            condition = {"type": "Ready", "status": wanted, "reason": "Heartbeat", "message": ""}
            status = {"conditions": [condition | {"lastTransitionTime": since}]}
            await self._client.merge_patch(NODES, name, {"status": status}, subresource="status")
        kept = [taint for taint in taints if taint["key"] != _NOT_READY]
        if ready and kept != taints:
            version = node["metadata"]["resourceVersion"]
            patch = {"metadata": {"resourceVersion": version}, "spec": {"taints": kept}}
            await self._client.merge_patch(NODES, name, patch)

    async def _schedule(self, nodes: Object) -> None:
        """Pods that ask for this scheduler: onto any node that is open, without kube-scheduler's second of pause."""
        pods = [pod for pod in await self._pods() if pod["spec"]["schedulerName"] == SCHEDULER]
        is_open = [name for name, node in nodes.items() if not node["spec"].get("taints")]
        for pod in pods:
            metadata, spec = pod["metadata"], pod["spec"]
            if spec.get("nodeName") or metadata.get("deletionTimestamp"):
                continue
            if is_open:
                binding = {"metadata": {"name": metadata["name"]}, "target": {"kind": "Node", "name": is_open[0]}}
                await self._client.create(
                    PODS, binding, metadata["namespace"], name=metadata["name"], subresource="binding"
                )
            elif not pod["status"].get("conditions"):
                unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
                patch = {"status": {"conditions": [unschedulable]}}
                await self._client.merge_patch(
                    PODS, metadata["name"], patch, metadata["namespace"], subresource="status"
                )

    async def _run_pods(self, alive: set[str]) -> None:
        for pod in await self._pods():
            metadata, bound = pod["metadata"], pod["spec"].get("nodeName", "")
            if bound not in alive:
                continue
            if metadata.get("deletionTimestamp"):
                if self._lets_go(pod):
                    with contextlib.suppress(NotFoundError):
                        await self._client.delete(PODS, metadata["name"], metadata["namespace"], grace_period=0)
            elif pod["status"].get("phase") == "Pending":
                await self._start(metadata)

    async def _start(self, metadata: Object) -> None:
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        patch = {"status": status}
        await self._client.merge_patch(PODS, metadata["name"], patch, metadata["namespace"], subresource="status")
