"""The machines' kubelets in virtual time: they take their time to boot and to stop pods, and fall silent."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Sequence
from typing import Final

from autonodes.core.clock import Clock
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.errors import ApiError, NotFoundError
from autonodes.kube.resources import NODES
from autonodes.verify.cloud import Cloud, Record
from autonodes.verify.kubelets import Kubelets
from autonodes.verify.view import View

FOREIGN: Final = {"key": "example.com/under-inspection", "value": "", "effect": "NoSchedule"}
"""Somebody else's taint."""

_LOOK: Final = 2.0


class Fleet(Kubelets):
    """:ivar foreign: whether somebody taints each new node
    :ivar stillborn: how many of the next machines never join
    """

    def __init__(self, client: KubeClient, cloud: Cloud, view: View, clock: Clock) -> None:
        super().__init__(client, cloud, clock)
        self._view = view
        self.foreign = False
        self.stillborn = 0
        self._dead: set[str] = set()
        self._known: set[str] = set()
        self._stopping: dict[str, float] = {}

    async def _pause(self) -> None:
        await asyncio.sleep(_LOOK)

    async def _nodes(self) -> Sequence[Object]:
        return tuple(self._view.nodes.items.values())

    async def _pods(self) -> Sequence[Object]:
        return tuple(self._view.pods.items.values())

    def _has_booted(self, machine: Record) -> bool:
        identity = machine["provider_id"]
        if identity not in self._known:
            self._known.add(identity)
            if self.stillborn:
                self.stillborn -= 1
                self._dead.add(identity)
        took = 5 + zlib.crc32(identity.encode()) % 30
        return identity not in self._dead and self._clock.now() >= machine["created_at"] + took

    def _lets_go(self, pod: Object) -> bool:
        uid = pod["metadata"]["uid"]
        stops = self._stopping.setdefault(uid, self._clock.now() + zlib.crc32(uid.encode()) % 15)
        return self._clock.now() >= stops

    async def _register(self, name: str, record: Record) -> None:
        if self.foreign:
            taint = [FOREIGN["key"], FOREIGN["value"], FOREIGN["effect"]]
            record = {**record, "taints": [*record["taints"], taint]}
        with contextlib.suppress(ApiError):
            await super()._register(name, record)

    async def release(self) -> None:
        """Whoever tainted them is content with all nodes."""
        self.foreign = False
        for node in tuple(self._view.nodes.items.values()):
            taints = node["spec"].get("taints") or []
            kept = [taint for taint in taints if taint["key"] != FOREIGN["key"]]
            if kept != taints:
                await self._release(node, kept)

    async def _release(self, node: Object, kept: list[Object]) -> None:
        version = node["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "spec": {"taints": kept or None}}
        try:
            await self._client.merge_patch(NODES, node["metadata"]["name"], patch)
        except NotFoundError:
            return
        except ApiError:
            fresh = await self._client.get(NODES, node["metadata"]["name"])
            taints = fresh["spec"].get("taints") or []
            await self._release(fresh, [taint for taint in taints if taint["key"] != FOREIGN["key"]])
