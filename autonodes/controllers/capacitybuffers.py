"""CapacityBuffers: room for pods to come, as pods that only the planner sees (`autonodes.core.headroom`).

Each buffer is resolved to a pod (from its PodTemplate, or from the workload that it names) and a number; both are
looked up again every half minute, for neither is watched. What was found stands in its ``ReadyForProvisioning``
condition, and what the last plan made of it in ``Provisioning``.

The kind is not this project's. Where the cluster does not have it there are no buffers, and it is looked for once a
minute; what can't be heard about buffers keeps nothing else from being decided. But until each buffer has been looked
at once, `settled` is False, and no empty node should be given back: it may be somebody's headroom.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from autonodes.api.capacitybuffer import ACTIVE, PROVISIONING, READY_FOR_PROVISIONING, CapacityBuffer
from autonodes.api.conditions import Verdict, set_conditions, to_json
from autonodes.controllers.bufferpods import Resolved, UnresolvedError, reference, resolve
from autonodes.controllers.roomseeking import RoomSeeking
from autonodes.core.clock import Clock
from autonodes.core.model import Plan, Pod
from autonodes.kube.cache import Cache, Change
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import CAPACITYBUFFERS

log = logging.getLogger(__name__)

_RESYNC: Final = 30.0
"""Seconds between two looks at a buffer's template and workload."""


class CapacityBuffers(RoomSeeking[CapacityBuffer]):
    """Also for somebody who only looks: see `look_once`."""

    def __init__(self, client: KubeClient, clock: Clock) -> None:
        cache: Cache[CapacityBuffer] = Cache(client, CAPACITYBUFFERS, _decode, clock)
        super().__init__(client, cache, clock, resync=_RESYNC)
        cache.subscribe(self._buffer_changed)
        self._pods: dict[str, tuple[Pod, ...]] = {}
        self._provisioning: dict[str, Verdict] = {}

    def pods(self) -> tuple[Pod, ...]:
        """Those that room is wanted for."""
        return tuple(pod for key in sorted(self._pods) for pod in self._pods[key])

    def planned(self, plan: Plan, nodes: Iterable[str]) -> None:
        """Tell the buffers what a plan made of their pods.

        :param nodes: the names of those that exist
        """
        there, bought = set(nodes), {uid for purchase in plan.purchases for uid in purchase.pods}
        for key, pods in self._pods.items():
            fates: Counter[str] = Counter(
                "new" if pod.uid in bought else "existing" if plan.placements.get(pod.uid) in there else "waiting"
                for pod in pods
            )
            verdict = _verdict(fates, len(pods))
            if pods and self._provisioning.get(key) != verdict:
                self._provisioning[key] = verdict
                self._queue.add(key)

    async def look_once(self) -> None:
        """Find out about all of them and write nothing; for somebody who does not lead.

        :raises ApiError: it can't be known
        """
        found = await self._client.list(CAPACITYBUFFERS) if await self._kind.is_served() else []
        for buffer in map(CapacityBuffer.from_api, found):
            if buffer.spec.provisioning_strategy == ACTIVE:
                with contextlib.suppress(UnresolvedError):
                    self._keep(f"{buffer.metadata.namespace}/{buffer.name}", (await self._find(buffer)).pods)

    def _buffer_changed(self, change: Change[CapacityBuffer]) -> None:
        if change.old is None or change.new is None or change.old.spec != change.new.spec:
            self._queue.add(change.key)

    async def _look(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        try:
            buffer = CapacityBuffer.from_api(await self._client.get(CAPACITYBUFFERS, name, namespace))
        except NotFoundError:
            self._queue.forget(key)
            self._provisioning.pop(key, None)
            self._keep(key, ())
            return
        if buffer.spec.provisioning_strategy != ACTIVE:
            self._keep(key, ())
            return
        await self._resolve(key, buffer)

    async def _resolve(self, key: str, buffer: CapacityBuffer) -> None:
        try:
            found = await self._find(buffer)
        except UnresolvedError as error:
            self._keep(key, ())
            await self._show(buffer, {READY_FOR_PROVISIONING: ("False", error.reason, str(error))}, {})
            return
        self._keep(key, found.pods)
        verdicts: dict[str, Verdict] = {READY_FOR_PROVISIONING: ("True", "Resolved", "")}
        if not found.pods:
            verdicts[PROVISIONING] = "False", "BufferEmpty", "there is nothing to keep room for"
        elif key in self._provisioning:
            verdicts[PROVISIONING] = self._provisioning[key]
        await self._show(buffer, verdicts, {**found.status, "replicas": len(found.pods)})

    def _keep(self, key: str, pods: tuple[Pod, ...]) -> None:
        changed = self._pods.get(key, ()) != pods
        self._pods[key] = pods
        if not pods:
            del self._pods[key]
        self._seen.add(key)
        if changed:
            self._tell()

    async def _find(self, buffer: CapacityBuffer) -> Resolved:
        """:raises UnresolvedError: there is no such thing
        :raises ApiError: it can't be known
        """
        needed = reference(buffer)
        try:
            body = await self._client.get(needed.resource, needed.name, buffer.metadata.namespace)
        except NotFoundError:
            raise needed.missing() from None
        return resolve(buffer, body)

    async def _show(self, buffer: CapacityBuffer, verdicts: Mapping[str, Verdict], status: Mapping[str, Any]) -> None:
        conditions = set_conditions(
            buffer.status.conditions,
            verdicts,
            now=self._clock.now(),
            observed_generation=buffer.metadata.generation,
        )
        shown = {**status, "provisioningStrategy": buffer.spec.provisioning_strategy}
        before = buffer.status.model_dump(mode="json", by_alias=True)
        if conditions == buffer.status.conditions and all(before.get(name) == value for name, value in shown.items()):
            return
        metadata = {"uid": buffer.metadata.uid, "resourceVersion": buffer.metadata.resource_version}
        await self._client.merge_patch(
            CAPACITYBUFFERS,
            buffer.name,
            {"metadata": metadata, "status": {**shown, "conditions": to_json(conditions)}},
            buffer.metadata.namespace,
            subresource="status",
        )


def _decode(raw: bytes) -> CapacityBuffer:
    return CapacityBuffer.from_api(msgspec.json.decode(raw))


def _verdict(fates: Mapping[str, int], wanted: int) -> Verdict:
    there = fates.get("existing", 0)
    if there == wanted:
        return "True", "FitsExistingCapacity", f"there is room for all {wanted}"
    message = f"there is room for {there} of {wanted}; nodes are bought for {fates.get('new', 0)}"
    return "False", "RequiresNewCapacity", message
