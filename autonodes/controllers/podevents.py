"""When a pod last came to a node, left it or finished on it: what ``consolidateAfter`` counts from.

The time is kept in memory to the moment and in the claim's ``status.lastPodEventTime`` to about ten seconds, so that a
new process does not take every node for quiet. Daemons don't count: they come and go with the node.
"""

from __future__ import annotations

from typing import Final

from autonodes.api.conditions import find_condition
from autonodes.api.nodeclaim import INITIALIZED, NodeClaim
from autonodes.api.objects import moment, timestamp
from autonodes.controllers.claims import created_at
from autonodes.controllers.workqueue import WorkQueue
from autonodes.core.clock import Clock
from autonodes.core.model import Pod
from autonodes.kube.cache import Change
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import ConflictError, NotFoundError
from autonodes.kube.resources import NODECLAIMS

_APART: Final = 10.0
"""Seconds between two writes of the time to one claim."""


class PodEvents:
    def __init__(self, client: KubeClient, state: ClusterState, clock: Clock) -> None:
        self._client, self._state, self._clock = client, state, clock
        self._last: dict[str, float] = {}
        self._queue = WorkQueue("last pod event of", self._write, clock)

    def subscribe(self) -> None:
        """Follow the pods."""
        self._state.pods.subscribe(self._pod_changed)

    def last(self, claim: NodeClaim) -> float:
        """When the claim's node was last touched by a pod; when it was initialized, if that is later. Seconds since
        the epoch."""
        initialized = find_condition(claim.status.conditions, INITIALIZED)
        return max(
            self._last.get(claim.name, 0.0),
            timestamp(claim.status.last_pod_event_time) or 0.0,
            (timestamp(initialized.last_transition_time) or 0.0) if initialized else 0.0,
            created_at(claim),
        )

    async def run(self) -> None:
        """Write the times to the claims; until cancelled."""
        await self._queue.run()

    def _pod_changed(self, change: Change[Pod]) -> None:
        node_name = touched(change)
        if not node_name or not self._state.pods.is_synced:
            return  # the first list is no news
        self._last[node_name] = self._clock.now()
        claim = self._state.nodeclaims.get(node_name)
        if claim is not None:
            written = timestamp(claim.status.last_pod_event_time) or 0.0
            self._queue.add(node_name, after=max(0.0, written + _APART - self._clock.now()))

    async def _write(self, name: str) -> None:
        claim, last = self._state.nodeclaims.get(name), self._last.get(name)
        if claim is None or last is None:
            self._queue.forget(name)
            self._last.pop(name, None)
            return
        if (timestamp(claim.status.last_pod_event_time) or 0.0) >= int(last):
            return
        shown = moment(last).isoformat().replace("+00:00", "Z")
        patch = {"metadata": {"uid": claim.metadata.uid}, "status": {"lastPodEventTime": shown}}
        try:
            await self._client.merge_patch(NODECLAIMS, name, patch, subresource="status")
        except (NotFoundError, ConflictError):
            self._queue.forget(name)


def touched(change: Change[Pod]) -> str:
    """The node to which a pod came, which it left, or on which it finished or began to finish; "" for any other."""
    old, new = change.old, change.new
    pod = new or old
    if pod is None or pod.owner_kind == "DaemonSet":
        return ""
    if new is None or old is None or old.node_name != new.node_name:
        return pod.node_name
    ends = (new.terminal and not old.terminal) or (new.deleted_at is not None and old.deleted_at is None)
    return new.node_name if ends else ""
