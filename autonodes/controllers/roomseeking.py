"""What CapacityBuffers and ProvisioningRequests have in common: a kind by which room is asked for.

The kind is not this project's: where the cluster does not have it nobody asks for anything. Each object is looked at
when it changes and again after a while, for what it refers to is not watched.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from autonodes.controllers.workqueue import WorkQueue
from autonodes.core.clock import Clock
from autonodes.kube.cache import Cache
from autonodes.kube.client import KubeClient
from autonodes.kube.optional import OptionalKind

T = TypeVar("T")


class RoomSeeking(ABC, Generic[T]):
    """:param cache: of the kind
    :param resync: seconds between two looks at an object
    """

    def __init__(self, client: KubeClient, cache: Cache[T], clock: Clock, *, resync: float) -> None:
        self._client, self._cache, self._clock = client, cache, clock
        self._callbacks: list[Callable[[], None]] = []
        self._queue = WorkQueue(cache.resource.kind, self._look, clock, resync=resync)
        self._kind = OptionalKind(client, cache, clock)
        self._seen: set[str] = set()

    @abstractmethod
    async def _look(self, key: str) -> None:
        """Look at one object, and have its key in ``_seen`` afterwards."""

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when room is wanted for other pods than before."""
        self._callbacks.append(callback)

    def _tell(self) -> None:
        for callback in self._callbacks:
            callback()

    @property
    def settled(self) -> bool:
        """Whether each object has been looked at, so that it is known what room is wanted."""
        return self._kind.absent or (self._cache.is_synced and self._seen.issuperset(self._cache.items))

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._kind.run())
            tasks.create_task(self._queue.run())
