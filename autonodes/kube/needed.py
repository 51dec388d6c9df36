"""Caches that run only while a pod that waits needs them.

Claims, volumes, device slices, pod groups: many clusters have none, or far more than pods that wait for one. So such
caches run from the moment that a pod which names one waits for a node, and end some minutes after the last of them has
one; each time they start from nothing, since what they knew before may be long outdated.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from autonodes.core.clock import Clock
from autonodes.core.model import Pod
from autonodes.kube.cache import Cache, Change
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import NotFoundError

LINGER: Final = 300.0
"""Seconds that the caches are kept after the last pod: a rollout's pods come one after another."""


class NeededCaches(ABC):
    """:param pods: those that may need the caches"""

    def __init__(self, client: KubeClient, pods: Cache[Pod], clock: Clock) -> None:
        self.client, self.clock = client, clock
        self._waiting: set[str] = set()
        self._wanted = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []
        self.running: tuple[Cache[Any], ...] = ()
        pods.subscribe(self._pod_changed)

    @abstractmethod
    def wanted_by(self, pod: Pod) -> bool:
        """Whether a pod that waits can't be planned without them."""

    @abstractmethod
    def make(self) -> tuple[Cache[Any], ...]:
        """New caches, not running yet."""

    @property
    def needed(self) -> tuple[Cache[Any], ...]:
        """The caches without which the pods that wait can't be planned. A kind that the API server does not serve has
        no objects, and is not waited for."""
        return tuple(cache for cache in self.running if not isinstance(cache.failure, NotFoundError))

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when something changes on which a waiting pod's place may depend."""
        self._callbacks.append(callback)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wanted.wait()
            keeping = [asyncio.create_task(cache.run(), name=f"cache {cache.resource}") for cache in self.running]
            try:
                await self._until_unused()
            finally:
                self.running = ()  # strictly before anything is awaited: a pod that comes now starts new ones
                self._wanted.clear()
                for task in keeping:
                    task.cancel()
                await asyncio.gather(*keeping, return_exceptions=True)

    async def _until_unused(self) -> None:
        while True:
            await self.clock.sleep(LINGER)
            if not self._waiting:
                return

    def _changed(self, change: Change[Any]) -> None:
        for callback in self._callbacks:
            callback()

    def _pod_changed(self, change: Change[Pod]) -> None:
        pod = change.new
        if pod is None or pod.node_name or pod.terminal or not self.wanted_by(pod):
            self._waiting.discard(change.key)
            return
        self._waiting.add(change.key)
        if not self.running:
            self.running = self.make()
            for cache in self.running:
                cache.subscribe(self._changed)
            self._wanted.set()
