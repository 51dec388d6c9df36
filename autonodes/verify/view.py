"""The world as it really is: what the API server holds, seen by somebody whom no fault hits, and the machines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

import msgspec

from autonodes.api.nodeclaim import NodeClaim
from autonodes.core.clock import Clock
from autonodes.kube.cache import Cache, Change
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.resources import NODECLAIMS, NODES, PDBS, PODS

NAMESPACE: Final = "verify"
SCHEDULER: Final = "verify"


class View:
    """:ivar changed: set at each change; who waits for it clears it"""

    def __init__(self, client: KubeClient, clock: Clock) -> None:
        self.changed = asyncio.Event()
        self.pods: Cache[Object] = Cache(client, PODS, msgspec.json.decode, clock)
        self.nodes: Cache[Object] = Cache(client, NODES, msgspec.json.decode, clock)
        self.budgets: Cache[Object] = Cache(client, PDBS, msgspec.json.decode, clock)
        self.claims: Cache[NodeClaim] = Cache(client, NODECLAIMS, _claim, clock)
        self._caches: tuple[Cache[Object] | Cache[NodeClaim], ...] = (
            self.pods, self.nodes, self.budgets, self.claims
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Kept as long as the block lasts; complete when it begins."""
        for cache in self._caches:
            cache.subscribe(self._wake)
        tasks = [asyncio.create_task(cache.run()) for cache in self._caches]
        try:
            for cache in self._caches:
                await cache.synced()
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _wake(self, _: Change[Object] | Change[NodeClaim]) -> None:
        self.changed.set()

    def pods_on(self, node: str) -> Iterator[Object]:
        """Those that have not ended."""
        return (pod for pod in self.pods.items.values() if pod["spec"].get("nodeName") == node and not has_ended(pod))

    def claim_of(self, uid: str) -> NodeClaim | None:
        return next((claim for claim in self.claims.items.values() if claim.metadata.uid == uid), None)


def _claim(raw: bytes) -> NodeClaim:
    return NodeClaim.from_api(msgspec.json.decode(raw))


def has_ended(pod: Object) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def is_leaving(body: Object) -> bool:
    return bool(body["metadata"].get("deletionTimestamp"))


def is_running(pod: Object) -> bool:
    """Running, and nobody asked it to go."""
    return pod["status"].get("phase") == "Running" and not is_leaving(pod)


def is_ready(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
