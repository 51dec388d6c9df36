"""What the kit needs of a provider under test, and the purchase that it makes there.

The faults that not every infrastructure has (:class:`Fault`) are optional: a rig that lacks one gives the reason in
`Rig.without`, and the tests that need it show that reason as skipped.
"""

from __future__ import annotations

import asyncio
import enum
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import pytest

from autonodes.core import labels
from autonodes.core.errors import AutonodesError
from autonodes.core.model import InstanceType, Offering, Taint
from autonodes.provider import (
    BootFile,
    BootPlan,
    Bootstrap,
    CreateError,
    InsufficientCapacityError,
    LaunchRequest,
    Machine,
    MachineNotFoundError,
    NodeClassNotReadyError,
    NodeSettings,
    Provider,
    ProviderID,
)

SECRET: Final = "conformance-kit-join-secret"  # noqa: S105 -- planted, to be looked for in logs
"""Part of every machine's boot data: it must be found there and nowhere else."""

_PAUSE: Final = 0.01
"""Seconds between two of them at first."""
_DELETIONS: Final = 100
"""Calls of `delete` after which a machine counts as one that does not go."""

_BOOT_FILES: Final = (
    BootFile(path="/etc/kubernetes/conformance/token", content=SECRET.encode(), mode=0o600),
    BootFile(path="/etc/kubernetes/conformance/text", content="naïve: {yaml}\n\t'quoted' \"$HOME\" # %\n".encode()),
    BootFile(path="/etc/kubernetes/conformance/binary", content=bytes(range(256)) * 4),
    BootFile(path="/etc/kubernetes/conformance/empty", content=b""),
    BootFile(path="/etc/kubernetes/conformance/program", content=b"#!/bin/sh\nexec true\n", mode=0o755),
)
"""All that has gone wrong with boot data: secrets, quotes, control characters, other bytes, nothing at all, modes."""


class Fault(enum.Enum):
    """What infrastructure does in life, and a rig can bring about if it can happen there at all."""

    LOST_ANSWER = "the order is carried out, its answer is lost"
    THROTTLING = "too many requests: come back later"
    OUTAGE = "nothing answers"
    BROKEN_LIST = "a list breaks off in the middle"
    NOTICE = "a machine is going to be taken away"
    BOOT_DATA = "what the machine was given to boot with can be read back"


@dataclass(frozen=True)
class Seed:
    """A bootstrap whose plan is nothing but files.

    ``settings`` has what the provider said of its machine, each time it asked.
    """

    node_name: str
    settings: list[NodeSettings] = field(default_factory=list, repr=False)

    def boot_plan(self, settings: NodeSettings) -> BootPlan:
        self.settings.append(settings)
        return BootPlan(node_name=self.node_name, files=_BOOT_FILES, processes=())


@dataclass(frozen=True, kw_only=True)
class DriftCase:
    """:param node_class: another state of the rig's, of which its machines are no longer
    :param reason: what `Provider.is_drifted` says then
    """

    node_class: Mapping[str, Any]
    reason: str


class Rig(ABC):
    """One provider of one cluster on infrastructure of its own."""

    without: ClassVar[Mapping[Fault, str]] = {}
    """The faults that can't be had here, and why, in a sentence."""

    many: int = 12
    """How many machines make the infrastructure's lists come in more than one page (where they come in pages)."""

    one_stock: bool = False
    """Whether all offerings draw on the same stock, so that they can only be sold out together."""

    secrets: Sequence[str] = ()
    """Credentials that the provider was given: they must not be in a log either."""

    @property
    @abstractmethod
    def provider(self) -> Provider:
        """The one under test, started. It may become another one when the rig is broken or restarted."""

    @property
    @abstractmethod
    def node_class(self) -> Mapping[str, Any]:
        """One that can be used, with two offerings at least; as it is now."""

    @abstractmethod
    async def restart(self) -> Provider:
        """As after the controller's restart: another provider, started, that has nothing but what is outside of the
        process. The old one is dropped as it is, without `close`, and may still be at work."""

    @abstractmethod
    async def stranger(self) -> Provider:
        """A provider, started, of another cluster on the same infrastructure."""

    @abstractmethod
    async def count(self, claim_uid: str) -> int:
        """How many machines the infrastructure has of a claim, those on their way out not counted."""

    @abstractmethod
    async def leftovers(self) -> Sequence[str]:
        """All that the infrastructure has of this cluster apart from what it keeps between machines (a network, a
        cache of images); called when every machine was deleted."""

    @abstractmethod
    async def tags(self, machine: Machine) -> Mapping[str, str]:
        """What the infrastructure has recorded on the machine: ``cluster``, ``claim-uid``, ``claim`` and ``nodepool``,
        whatever they are called there."""

    @abstractmethod
    def unusable(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """Node classes that can't be used, and what of its fault's text a user must be able to read."""

    @abstractmethod
    def drifts(self) -> Sequence[DriftCase]:
        """At least one."""

    @abstractmethod
    async def sell_out(self, offerings: Sequence[tuple[str, str, str]]) -> None:
        """No more of these (type, zone, capacity type); with `one_stock` of any."""

    def bootstrap(self, node_name: str) -> Bootstrap:
        """What the machines boot with."""
        return Seed(node_name)

    def choose(self, types: Sequence[InstanceType]) -> Sequence[InstanceType]:
        """The types that the kit buys, the preferred one first."""
        return sorted(types, key=lambda each: (min(_prices(each), default=float("inf")), each.name))

    async def boot_files(self, machine: Machine) -> Mapping[str, tuple[bytes, int]]:
        """Path → content and mode of the files that the machine boots with, as the machine sees them."""
        raise NotImplementedError

    async def lose_answer(self) -> None:
        """The next order is carried out, but its answer does not arrive."""
        raise NotImplementedError

    async def throttle(self, requests: int) -> None:
        """Refuse so many requests because there are too many."""
        raise NotImplementedError

    def pauses(self) -> Sequence[float]:
        """Seconds that the provider has waited before each of its own further tries since `throttle`; empty for one
        that leaves it to the controller to try again."""
        raise NotImplementedError

    def outage(self) -> AbstractAsyncContextManager[None]:
        """Nothing answers as long as it is entered."""
        raise NotImplementedError

    async def break_list(self) -> None:
        """The next list breaks off after a part of it has come."""
        raise NotImplementedError

    async def announce_loss(self, machine: Machine) -> None:
        """A notice that the machine is going to be taken away."""
        raise NotImplementedError

    def need(self, fault: Fault) -> None:
        """Skip the test, with the reason, where the fault can't be had."""
        if fault in self.without:
            pytest.skip(f"{self.provider.name}: {self.without[fault]}")

    async def candidates(self) -> tuple[tuple[InstanceType, Offering], ...]:
        """What can be had now, the preferred type's offerings first, each cheapest first."""
        types = self.choose(await self.provider.instance_types(self.node_class))
        return tuple(
            (offered, offering)
            for offered in types
            for offering in sorted(offered.offerings, key=lambda each: (each.price or 0.0, each.zone))
            if offering.available and offering.price is not None
        )

    async def request(self, **changes: Any) -> LaunchRequest:
        """A purchase for a new claim, of what is preferred; ``changes`` are fields of the `LaunchRequest`."""
        uid = str(uuid.uuid4())
        name = f"conformance-{uid[:8]}"
        given: dict[str, Any] = {
            "claim_uid": uid,
            "claim_name": name,
            "node_pool": "conformance",
            "node_class": self.node_class,
            "labels": {"example.com/team": "a"},
            "taints": (Taint(labels.UNREGISTERED_TAINT, "", "NoExecute"),),
            "bootstrap": self.bootstrap(name),
        }
        if "candidates" not in changes:
            changes["candidates"] = (await self.candidates())[:4]
        return LaunchRequest(**given | changes)

    async def buy(self, **changes: Any) -> Machine:
        """A machine of its own claim."""
        return await self.provider.create(await self.request(**changes))


async def delete_completely(provider: Provider, provider_id: ProviderID) -> None:
    """As the controller does: until the provider says that nothing is left."""
    for count in range(_DELETIONS):
        try:
            await provider.delete(provider_id)
        except MachineNotFoundError:
            return
        await asyncio.sleep(min(count, 10) * _PAUSE)
    raise AssertionError(f"{provider_id} is still there after {_DELETIONS} calls of delete")


def says_nothing_of_offerings(error: AutonodesError) -> None:
    """What has nothing to do with an offering must not keep the planner from it."""
    assert not isinstance(error, InsufficientCapacityError | NodeClassNotReadyError | CreateError), repr(error)


def _prices(instance_type: InstanceType) -> list[float]:
    return [offering.price for offering in instance_type.offerings if offering.price is not None]
