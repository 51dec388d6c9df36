"""A cluster that has bare metal: its provider, its purchases, and time that passes when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autonodes.core.ledger import Entry, flaws
from autonodes.core.model import InstanceType
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import ApiUnreachableError, NotFoundError
from autonodes.kube.ledger import Ledger
from autonodes.kube.resources import BAREMETALHOSTS, NODES
from autonodes.provider import (
    BootFile,
    BootPlan,
    Bootstrap,
    LaunchRequest,
    Machine,
    MachineNotFoundError,
    NodeSettings,
    ProviderContext,
)
from providers.metal import MetalProvider
from providers.metal.bmc import BMCError
from redfish import PROVIDER_ID_FILE, Hall

WITHIN = 180.0


@dataclass(frozen=True)
class Joins:
    node_name: str

    def boot_plan(self, settings: NodeSettings) -> BootPlan:
        file = BootFile(path=PROVIDER_ID_FILE, content=settings.provider_id.encode())
        return BootPlan(node_name=self.node_name, files=(file,), processes=())


@dataclass
class Tenant:
    """A cluster that has bare metal. Time stands still but for `pass_time`."""

    kube: KubeClient
    hall: Hall
    state_dir: Path
    now: float = 1_700_000_000.0
    providers: list[MetalProvider] = field(default_factory=list)

    @property
    def provider(self) -> MetalProvider:
        return self.providers[-1]

    @property
    def node_class(self) -> dict[str, Any]:
        return {"metadata": {"name": "default"}, "spec": {"image": self.hall.image, "bootTimeout": "10m"}}

    async def start(self) -> None:
        """A controller; the one before is gone."""
        await self.stop()
        options = {"cleaning-image": self.hall.image, "media-address": "127.0.0.1:0"}
        context = ProviderContext(
            cluster="blue",
            state_dir=self.state_dir,
            component_dirs=(),
            images=(),
            uplink="",
            kube=self.kube,
            options=options,
        )
        self.providers.append(MetalProvider(context, now=lambda: self.now))
        await self.provider.start()

    async def stop(self) -> None:
        if self.providers:
            await self.providers.pop().close()

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.provider.engine.wake()

    async def buy(
        self, types: Sequence[InstanceType] | None = None, *, joins: Callable[[str], Bootstrap] = Joins
    ) -> Machine:
        """:param types: as offered before; asked for anew without"""
        types = types or await self.provider.instance_types(self.node_class)
        uid = str(uuid.uuid4())
        return await self.provider.create(
            LaunchRequest(
                claim_uid=uid,
                claim_name=f"metal-{uid[:8]}",
                node_pool="default",
                candidates=tuple((each, offering) for each in types for offering in each.offerings),
                node_class=self.node_class,
                labels={},
                taints=(),
                bootstrap=joins(f"metal-{uid[:8]}"),
            )
        )

    async def give_back(self, machine: Machine, *, within: float = WITHIN) -> None:
        async with asyncio.timeout(within):
            while True:
                try:
                    await self.provider.delete(machine.provider_id)
                except MachineNotFoundError:
                    break
                except (ApiUnreachableError, BMCError):
                    pass  # asked again, as the controllers do
                await asyncio.sleep(0.05)
        with contextlib.suppress(NotFoundError):
            await self.kube.delete(NODES, machine.claim_name)

    async def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.kube.get(BAREMETALHOSTS, name)).get("status") or {}
        return found

    async def until(self, name: str, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        status: dict[str, Any] = {}
        try:
            async with asyncio.timeout(WITHIN):
                while not what(status := await self.status(name)):
                    self.provider.engine.wake()
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"{name}: {status}") from None
        return status

    async def until_one(self, names: Sequence[str], what: Callable[[dict[str, Any]], bool]) -> str:
        """The first of these hosts of which it is true."""
        async with asyncio.timeout(WITHIN):
            while True:
                for name in names:
                    if what(await self.status(name)):
                        return name
                await self.pass_time(1.0)
                await asyncio.sleep(0.2)

    async def until_in(self, name: str, state: str) -> dict[str, Any]:
        return await self.until(name, lambda status: status.get("state") == state)

    async def chain(self, name: str) -> list[Entry]:
        """Of a host, without a flaw."""
        body = await self.kube.get(BAREMETALHOSTS, name)
        chain = await Ledger(self.kube).chain(body["metadata"]["uid"])
        assert list(flaws(name, chain, head=body["status"]["ledgerHead"])) == []
        return chain
