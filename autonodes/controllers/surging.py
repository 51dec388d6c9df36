"""The successor of a pod that is its workload's only one, started before it is evicted.

An eviction takes the only replica of a Deployment away before the next one runs. A pod with the annotation
``autonodes.io/surge: "true"`` asks for the other order: its Deployment is restarted, as ``kubectl rollout restart``
does it, and its own strategy (one more, none unavailable) starts a pod elsewhere, for the node takes no new ones, and
ends this one when that is ready. It is evicted all the same when the rollout takes longer than :data:`PATIENCE`, and a
node's ``terminationGracePeriod`` is not waited beyond.

Nothing is remembered: that a restart is under way is read off the Deployment, whose template then has a later time than
the pod's ReplicaSet.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from autonodes.core.clock import Clock
from autonodes.core.labels import SURGE
from autonodes.core.model import Pod
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import DEPLOYMENTS, REPLICASETS

PATIENCE: Final = 300.0
"""Seconds that a rollout may take: an image is pulled and a node perhaps bought in that time."""

RESTARTED_AT: Final = "kubectl.kubernetes.io/restartedAt"


class Surging:
    def __init__(self, client: KubeClient, clock: Clock) -> None:
        self._client, self._clock = client, clock

    async def is_awaited(self, pod: Pod) -> bool:
        """Whether the pod's successor comes first; it is asked for if nobody has yet.

        :raises ApiError: that can't be known, or asked for
        """
        if pod.annotations.get(SURGE) != "true" or pod.owner_kind != "ReplicaSet" or not pod.ready:
            return False
        replica_set = await self._replica_set(pod)
        deployment = await self._deployment(pod.namespace, replica_set)
        if replica_set is None or deployment is None or not _surges(deployment):
            return False
        asked = _restarted_at(deployment)
        if asked == _restarted_at(replica_set) or asked is None:
            await self._restart(deployment)
            return True
        return self._clock.now() < asked + PATIENCE

    async def _replica_set(self, pod: Pod) -> dict[str, Any] | None:
        found = await self._client.list(REPLICASETS, pod.namespace)
        return next((each for each in found if each["metadata"]["uid"] == pod.owner_uid), None)

    async def _deployment(self, namespace: str, replica_set: dict[str, Any] | None) -> dict[str, Any] | None:
        owners = (replica_set or {}).get("metadata", {}).get("ownerReferences") or ()
        name = next((each["name"] for each in owners if each["kind"] == "Deployment" and each.get("controller")), None)
        if name is None:
            return None
        try:
            return await self._client.get(DEPLOYMENTS, name, namespace)
        except NotFoundError:
            return None

    async def _restart(self, deployment: dict[str, Any]) -> None:
        """:raises ConflictError: it changed meanwhile: look again"""
        metadata = deployment["metadata"]
        now = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        patch = {
            "metadata": {"resourceVersion": metadata["resourceVersion"]},
            "spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}},
        }
        await self._client.merge_patch(DEPLOYMENTS, metadata["name"], patch, metadata["namespace"])


def _surges(deployment: dict[str, Any]) -> bool:
    """Whether it has one replica, and starts another one before it ends that: a fraction of one that may be
    unavailable is none, and one that may be there too much is one."""
    spec = deployment["spec"]
    rolling = spec.get("strategy", {}).get("rollingUpdate") or {}
    is_one = spec.get("replicas") == 1 and not spec.get("paused")
    return bool(is_one and _at_least_one(rolling.get("maxSurge")) and not _all_of_one(rolling.get("maxUnavailable")))


def _at_least_one(value: int | str | None) -> bool:
    return value not in (None, 0, "0%")


def _all_of_one(value: int | str | None) -> bool:
    return value == "100%" or (isinstance(value, int) and value > 0)


def _restarted_at(body: dict[str, Any]) -> float | None:
    """Seconds since the epoch."""
    text = (body["spec"]["template"]["metadata"].get("annotations") or {}).get(RESTARTED_AT)
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
