"""The cloud as a controller meets it on a bad day: it throttles, lags, loses replies, buys twice and lies.

What is going to happen to which call is queued by the world; each entry hits one call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from autonodes.core.clock import Clock
from autonodes.core.model import InstanceType
from autonodes.provider import (
    InsufficientCapacityError,
    Interruption,
    LaunchRequest,
    Machine,
    MachineNotFoundError,
    ProviderError,
    ProviderID,
    RepairPolicy,
)
from autonodes.verify.cloud import Cloud, Record, machine_of
from autonodes.verify.faults import Fault


class Watcher(Protocol):
    """Is told what is done to machines, and judges."""

    def buying(self, who: str) -> None: ...

    def bought(self, request: LaunchRequest, record: Record) -> None: ...

    def deleting(self, who: str, provider_id: str) -> None: ...


class Misfortunes:
    """:param met: called with each fault that hits a call
    :ivar excused: UIDs of claims whose machine the provider itself doubled or denied
    """

    def __init__(self, cloud: Cloud, clock: Clock, met: Callable[[Fault], None]) -> None:
        self.cloud, self._clock, self._met = cloud, clock, met
        self.excused: set[str] = set()
        self.doubles: set[str] = set()
        """Provider IDs of the machines that nobody asked for."""
        self._staleness = 0.0
        self._queues: dict[str, deque[Fault]] = {}
        self._past: deque[tuple[float, list[Record]]] = deque(maxlen=200)

    def queue(self, fault: Fault) -> None:
        self._queues.setdefault(fault.target, deque()).append(fault)

    def clear(self) -> None:
        """Nothing of it happens any more."""
        self._queues.clear()

    def remember(self) -> None:
        """The machines changed: from now on a list may be stale."""
        self._past.append((self._clock.now(), self.cloud.records()))

    def past(self) -> list[Record]:
        """The machines as a stale list shows them."""
        before = [records for at, records in self._past if at <= self._clock.now() - self._staleness]
        return before[-1] if before else []

    async def befall(self, call: str) -> str:
        """What happens to this call; what happens before it does anything, has happened.

        :return: the kind of what is still to happen, "" for nothing
        """
        queue = self._queues.get(call)
        if not queue:
            return ""
        fault = queue.popleft()
        self._met(fault)
        if fault.kind == "throttled":
            raise ProviderError("throttled: rate exceeded")
        if fault.kind == "slow":
            await asyncio.sleep(fault.amount)
        if fault.kind == "sold-out":
            raise InsufficientCapacityError("sold out")
        self._staleness = fault.amount
        return fault.kind


class Misbehaving:
    """One controller's way to the cloud.

    :param who: the controller's identity
    """

    name = "cloud"
    node_class_kind = Cloud.node_class_kind

    def __init__(self, misfortunes: Misfortunes, watcher: Watcher, who: str) -> None:
        self._misfortunes, self._watcher, self._who = misfortunes, watcher, who
        self._cloud = misfortunes.cloud

    async def start(self) -> None:
        await self._cloud.start()

    async def close(self) -> None:
        await self._cloud.close()

    async def validate(self, node_class: Mapping[str, Any]) -> None:
        await self._cloud.validate(node_class)

    async def instance_types(self, node_class: Mapping[str, Any]) -> Sequence[InstanceType]:
        await self._misfortunes.befall("instance_types")
        return await self._cloud.instance_types(node_class)

    async def create(self, request: LaunchRequest) -> Machine:
        self._watcher.buying(self._who)
        kind = await self._misfortunes.befall("create")
        before = len(self._cloud.purchases)
        machine = await self._cloud.create(request)
        if len(self._cloud.purchases) > before:
            self._watcher.bought(request, self._cloud.record(machine.provider_id))
        if kind == "bought-twice":
            self._misfortunes.excused.add(request.claim_uid)
            self._misfortunes.doubles.add(self._cloud.buy(request)["provider_id"])
        self._misfortunes.remember()
        if kind == "lost-reply":
            raise ProviderError("the connection broke")
        return machine

    async def delete(self, provider_id: ProviderID) -> None:
        self._watcher.deleting(self._who, provider_id)
        kind = await self._misfortunes.befall("delete")
        if kind == "not-deleted":
            return
        if kind == "said-gone":
            self._deny(provider_id)
        await self._cloud.delete(provider_id)
        self._misfortunes.remember()
        if kind == "lost-reply":
            raise ProviderError("the connection broke")

    async def get(self, provider_id: ProviderID) -> Machine:
        if await self._misfortunes.befall("get") == "said-gone":
            self._deny(provider_id)
        return await self._cloud.get(provider_id)

    def _deny(self, provider_id: ProviderID) -> None:
        if self._cloud.has(provider_id):
            self._misfortunes.excused.add(self._cloud.record(provider_id)["claim_uid"])
        raise MachineNotFoundError(provider_id)

    async def list(self) -> Sequence[Machine]:
        if await self._misfortunes.befall("list") == "stale-list":
            then = self._misfortunes.past()
            self._misfortunes.excused.update(
                record["claim_uid"] for record in self._cloud.records() if record not in then
            )
            return [machine_of(record) for record in then]
        return await self._cloud.list()

    async def is_drifted(self, machine: Machine, node_class: Mapping[str, Any]) -> str | None:
        return await self._cloud.is_drifted(machine, node_class)

    def repair_policies(self) -> Sequence[RepairPolicy]:
        return self._cloud.repair_policies()

    async def interruptions(self) -> Sequence[Interruption]:
        await self._misfortunes.befall("interruptions")
        return await self._cloud.interruptions()
