"""Who makes pods, says how many of them may go, binds them and removes what is left of them.

The parts that ReplicaSets, the disruption controller, kube-scheduler and the pod garbage collector play in a cluster,
as far as a controller of nodes can tell. They decide at an event and act a little later: by then they may be wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any, Final

from autonodes.core.quantities import parse_resource
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.errors import ApiError, NotFoundError
from autonodes.kube.resources import PDBS, PODS
from autonodes.verify.scenario import Workload
from autonodes.verify.view import NAMESPACE, SCHEDULER, View, has_ended, is_leaving, is_ready, is_running

_LAG: Final = 0.2
"""Seconds between what is seen and what is done about it."""
_IDLE: Final = 30.0


class Workloads:
    """:param client: the administrator's"""

    def __init__(self, client: KubeClient, view: View, workloads: Iterable[Workload]) -> None:
        self._client, self._view = client, view
        self.wanted = {workload: workload.replicas for workload in workloads}
        self.made = 0

    async def start(self) -> None:
        """The budgets."""
        for workload in self.wanted:
            if workload.unavailable is not None:
                spec = {
                    "maxUnavailable": workload.unavailable, "selector": {"matchLabels": {"app": workload.name}}
                }  # fmt: skip
                body = {"metadata": {"name": workload.name, "namespace": NAMESPACE}, "spec": spec}
                await self._client.create(PDBS, body)

    def scale(self, name: str, replicas: int) -> None:
        workload = next(each for each in self.wanted if each.name == name)
        self.wanted[workload] = replicas
        self._view.changed.set()

    def are_served(self) -> bool:
        """Whether every pod that is wanted runs."""
        return all(
            sum(is_running(pod) for pod in self._pods(workload)) == len(self._pods(workload)) == replicas
            for workload, replicas in self.wanted.items()
        )

    def waiting(self) -> list[str]:
        return [
            f"{workload.name}: {sum(map(is_running, self._pods(workload)))} of {replicas}"
            for workload, replicas in self.wanted.items()
            if sum(map(is_running, self._pods(workload))) != replicas
        ]

    def _pods(self, workload: Workload) -> list[Object]:
        pods = self._view.pods.items.values()
        return [pod for pod in pods if pod["metadata"]["labels"].get("app") == workload.name and not has_ended(pod)]

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._view.changed.clear()
            await asyncio.sleep(_LAG)
            for step in (self._replicate, self._budget, self._schedule, self._bury):
                with contextlib.suppress(ApiError):
                    await step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_IDLE):
                    await self._view.changed.wait()

    async def _replicate(self) -> None:
        for workload, replicas in self.wanted.items():
            staying = [pod for pod in self._pods(workload) if not is_leaving(pod)]
            for _ in range(replicas - len(staying)):
                self.made += 1
                await self._client.create(PODS, _manifest(workload, self.made), NAMESPACE)
            surplus = sorted(staying, key=lambda pod: (is_running(pod), pod["metadata"]["name"]))
            for pod in surplus[: max(0, len(staying) - replicas)]:
                with contextlib.suppress(NotFoundError):
                    await self._client.delete(PODS, pod["metadata"]["name"], NAMESPACE)

    async def _budget(self) -> None:
        for workload, replicas in self.wanted.items():
            body = self._view.budgets.get(f"{NAMESPACE}/{workload.name}")
            if body is None or workload.unavailable is None:
                continue
            known = body.get("status") or {}
            going = self._going(known)
            healthy = sum(is_running(pod) and pod["metadata"]["name"] not in going for pod in self._pods(workload))
            least = max(0, replicas - workload.unavailable)
            status = {
                "disruptionsAllowed": max(0, healthy - least),
                "currentHealthy": healthy,
                "desiredHealthy": least,
                "expectedPods": replicas,
                "observedGeneration": body["metadata"]["generation"],
            }
            if {key: known.get(key) for key in status} == status and going.keys() == (
                known.get("disruptedPods") or {}
            ).keys():
                continue
            stale = {name: None for name in known.get("disruptedPods") or {} if name not in going}
            patch: dict[str, Any] = {
                "metadata": {"resourceVersion": body["metadata"]["resourceVersion"]},
                "status": {**status, "disruptedPods": stale},
            }
            await self._client.merge_patch(PDBS, workload.name, patch, NAMESPACE, subresource="status")

    def _going(self, status: Object) -> dict[str, str]:
        """Pods whose eviction was granted and which do not show it yet."""
        known: dict[str, str] = status.get("disruptedPods") or {}
        pods = {name: self._view.pods.get(f"{NAMESPACE}/{name}") for name in known}
        return {name: at for name, at in known.items() if (pod := pods[name]) is not None and not is_leaving(pod)}

    async def _schedule(self) -> None:
        pods = [pod for pod in self._view.pods.items.values() if _waits(pod)]
        if not pods:
            return
        room = {name: self._room(node) for name, node in sorted(self._view.nodes.items.items()) if _is_open(node)}
        bindings = [(pod, _choice(pod, room)) for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))]
        await asyncio.sleep(_LAG)
        for pod, node in bindings:
            with contextlib.suppress(ApiError):
                await (self._bind(pod, node) if node else self._give_up(pod))

    def _room(self, node: Object) -> dict[str, int]:
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        left = {name: parse_resource(name, text) for name, text in allocatable.items() if name in ("cpu", "pods")}
        for pod in self._view.pods_on(node["metadata"]["name"]):
            left["cpu"] = left.get("cpu", 0) - _cpu(pod)
            left["pods"] = left.get("pods", 0) - 1
        return left

    async def _bind(self, pod: Object, node: str) -> None:
        name = pod["metadata"]["name"]
        body = {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
        await self._client.create(PODS, body, NAMESPACE, name=name, subresource="binding")

    async def _give_up(self, pod: Object) -> None:
        if not pod["status"].get("conditions"):
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            patch = {"status": {"conditions": [condition]}}
            await self._client.merge_patch(PODS, pod["metadata"]["name"], patch, NAMESPACE, subresource="status")

    async def _bury(self) -> None:
        """Pods of nodes that do not exist."""
        for pod in tuple(self._view.pods.items.values()):
            node = pod["spec"].get("nodeName")
            if node and self._view.nodes.get(node) is None:
                with contextlib.suppress(NotFoundError):
                    await self._client.delete(PODS, pod["metadata"]["name"], NAMESPACE, grace_period=0)


def _manifest(workload: Workload, number: int) -> Object:
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": f"{workload.cpu}m"}}}
    annotations = {"karpenter.sh/do-not-disrupt": "true"} if workload.pinned else {}
    return {
        "metadata": {
            "name": f"{workload.name}-{number}", "labels": {"app": workload.name}, "annotations": annotations
        },
        "spec": {"containers": [container], "schedulerName": SCHEDULER, "terminationGracePeriodSeconds": 20},
    }  # fmt: skip


def _waits(pod: Object) -> bool:
    return not pod["spec"].get("nodeName") and not is_leaving(pod) and not has_ended(pod)


def _is_open(node: Object) -> bool:
    return is_ready(node) and not node["spec"].get("taints") and not node["spec"].get("unschedulable")


def _cpu(pod: Object) -> int:
    return sum(parse_resource("cpu", each["resources"]["requests"]["cpu"]) for each in pod["spec"]["containers"])


def _choice(pod: Object, room: dict[str, dict[str, int]]) -> str:
    """The fullest node that has room for it; the room is taken. "" for none."""
    cpu = _cpu(pod)
    fitting = [name for name, left in room.items() if left.get("cpu", 0) >= cpu and left.get("pods", 0) >= 1]
    if not fitting:
        return ""
    name = min(fitting, key=lambda each: (room[each]["cpu"], each))
    room[name]["cpu"] -= cpu
    room[name]["pods"] -= 1
    return name
