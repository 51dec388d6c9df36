"""Leadership by a Lease."""

from __future__ import annotations

import asyncio
from types import TracebackType

from autonodes.core.clock import Clock
from autonodes.kube.client import KubeClient


class LeaderElection:
    lost: asyncio.Event

    def __init__(self, client: KubeClient, name: str, namespace: str, identity: str, clock: Clock) -> None:
        raise NotImplementedError

    @property
    def is_leader(self) -> bool:
        raise NotImplementedError

    async def acquire(self) -> None:
        raise NotImplementedError

    async def release(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> LeaderElection:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError
