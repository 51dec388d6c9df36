"""What a rig has whose provider keeps its books in an API server: a proxy before it, that breaks it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from autonodes.conformance import Rig
from autonodes.kube.client import KubeClient
from autonodes.verify.faultproxy import FaultProxy


class RigBehindProxy(Rig):
    """Close it: its clients are its own."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._pauses: list[float] = []
        self._clients: list[KubeClient] = []

    def _client(self) -> KubeClient:
        """For a provider; its pauses are noted and not waited for."""

        async def pause(seconds: float) -> None:
            self._pauses.append(seconds)

        client = self._proxy.client(sleep=pause)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.close()

    async def lose_answer(self) -> None:
        self._proxy.lost_creations = 1

    async def throttle(self, requests: int) -> None:
        self._pauses.clear()
        self._proxy.stop_refusing()
        self._proxy.refuse_next(429, times=requests)

    def pauses(self) -> Sequence[float]:
        return tuple(self._pauses)

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self._proxy.refuse_next(503, times=10_000)
        yield
        self._proxy.stop_refusing()

    async def break_list(self) -> None:
        self._proxy.cut_next_list = True
