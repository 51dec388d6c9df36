"""A list+watch cache of one resource."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from autonodes.core.clock import Clock
from autonodes.kube.client import KubeClient
from autonodes.kube.resources import Resource

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """``old`` is None for a new object, ``new`` for a deleted one."""

    key: str
    old: T | None
    new: T | None


class Cache(Generic[T]):
    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        decode: Callable[[bytes], T],
        clock: Clock,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        raise NotImplementedError

    @property
    def items(self) -> Mapping[str, T]:
        raise NotImplementedError

    def get(self, key: str) -> T | None:
        raise NotImplementedError

    def subscribe(self, callback: Callable[[Change[T]], None]) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        raise NotImplementedError

    async def synced(self) -> None:
        raise NotImplementedError

    def age(self, now: float) -> float:
        raise NotImplementedError
