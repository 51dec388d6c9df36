"""The approver of nodes' certificates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from autonodes.core.clock import Clock
from autonodes.kube.client import KubeClient

MachineAddresses = Callable[[str], Awaitable[Collection[str] | None]]


class CertificateApprover:
    def __init__(self, client: KubeClient, clock: Clock, *, addresses: MachineAddresses | None = None) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        raise NotImplementedError
