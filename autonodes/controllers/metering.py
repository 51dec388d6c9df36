"""Providers whose calls are counted and timed, for `metrics`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from autonodes.core.model import InstanceType
from autonodes.provider import Interruption, LaunchRequest, Machine, Provider, ProviderID, RepairPolicy

T = TypeVar("T")


class Metered:
    """A provider that tells of each call.

    :param told: takes the method as Karpenter's metrics name it, the seconds, and the class of what was raised or ""
    """

    def __init__(self, provider: Provider, told: Callable[[str, float, str], None]) -> None:
        self._provider, self._told = provider, told
        self.name, self.node_class_kind = provider.name, provider.node_class_kind

    async def _timed(self, method: str, call: Awaitable[T]) -> T:
        started, error = time.perf_counter(), ""
        try:
            return await call
        except Exception as raised:
            error = type(raised).__name__
            raise
        finally:
            self._told(method, time.perf_counter() - started, error)

    async def start(self) -> None:
        await self._provider.start()

    async def close(self) -> None:
        await self._provider.close()

    async def validate(self, node_class: Mapping[str, Any]) -> None:
        await self._timed("Validate", self._provider.validate(node_class))

    async def instance_types(self, node_class: Mapping[str, Any]) -> Sequence[InstanceType]:
        return await self._timed("GetInstanceTypes", self._provider.instance_types(node_class))

    async def create(self, request: LaunchRequest) -> Machine:
        return await self._timed("Create", self._provider.create(request))

    async def delete(self, provider_id: ProviderID) -> None:
        await self._timed("Delete", self._provider.delete(provider_id))

    async def get(self, provider_id: ProviderID) -> Machine:
        return await self._timed("Get", self._provider.get(provider_id))

    async def list(self) -> Sequence[Machine]:
        return await self._timed("List", self._provider.list())

    async def is_drifted(self, machine: Machine, node_class: Mapping[str, Any]) -> str | None:
        return await self._timed("IsDrifted", self._provider.is_drifted(machine, node_class))

    def repair_policies(self) -> Sequence[RepairPolicy]:
        return self._provider.repair_policies()

    async def interruptions(self) -> Sequence[Interruption]:
        return await self._timed("Interruptions", self._provider.interruptions())
