"""Everybody who wants room for pods that don't exist: CapacityBuffers and ProvisioningRequests, as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from autonodes.controllers.capacitybuffers import CapacityBuffers
from autonodes.controllers.provisioningrequests import ProvisioningRequests
from autonodes.core.clock import Clock
from autonodes.core.model import Node, Plan, Pod, PodGroup
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState


class RoomKeeping:
    """Also for somebody who only looks: see `look_once`."""

    def __init__(self, client: KubeClient, state: ClusterState, clock: Clock) -> None:
        self._buffers = CapacityBuffers(client, clock)
        self._requests = ProvisioningRequests(client, state.pods, clock)

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when room is wanted for other pods than before."""
        self._buffers.subscribe(callback)
        self._requests.subscribe(callback)

    @property
    def settled(self) -> bool:
        """Whether each of them has been looked at, so that `pods` is all of it."""
        return self._buffers.settled and self._requests.settled

    def pods(self) -> tuple[Pod, ...]:
        """Those that room is wanted for."""
        return (*self._buffers.pods(), *self._requests.pods())

    def groups(self) -> tuple[PodGroup, ...]:
        """Those of them that are of use only together."""
        return self._requests.groups()

    def planned(self, plan: Plan, nodes: Mapping[str, Node]) -> None:
        """Tell them what a plan made of their pods."""
        self._buffers.planned(plan, nodes)
        self._requests.planned(plan, nodes)

    async def look_once(self) -> None:
        """Find out about all of them and write nothing; for somebody who does not lead.

        :raises ApiError: it can't be known
        """
        await self._buffers.look_once()
        await self._requests.look_once()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._buffers.run())
            tasks.create_task(self._requests.run())
