"""The bare-metal provider on emulated hosts, each with a Redfish controller."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from autonodes.conformance import DriftCase, Fault
from autonodes.kube.client import KubeClient
from autonodes.kube.resources import BAREMETALHOSTS, SECRETS, node_class
from autonodes.provider import Machine, ProviderContext
from autonodes.verify.faultproxy import FaultProxy
from conformance.behind_proxy import RigBehindProxy
from conformance.conftest import HOSTS
from controlplane import RunningControlPlane
from nocloud_seeds import files_of
from providers.metal import MetalProvider
from providers.metal.allocations import Allocation, Allocations
from providers.metal.seeds import LABEL, META_DATA, USER_DATA, Seed
from redfish import PASSWORD, Emulator, Hall

_WITHIN = 180.0


class MetalRig(RigBehindProxy):
    without: ClassVar = {Fault.NOTICE: "nobody takes hosts of one's own away"}
    many = 4
    secrets = (PASSWORD,)

    def __init__(self, proxy: FaultProxy, kube: KubeClient, hall: Hall, directory: Path) -> None:
        """:param kube: past the proxy"""
        super().__init__(proxy)
        self._kube, self._hall, self._directory = kube, hall, directory
        self.cluster = f"c-{uuid.uuid4().hex[:8]}"
        self._providers: list[MetalProvider] = []

    async def _new(self, cluster: str) -> MetalProvider:
        provider = MetalProvider(
            ProviderContext(
                cluster=cluster,
                state_dir=self._directory,
                component_dirs=(),
                images=(),
                uplink="",
                kube=self._client(),
                options={"cleaning-image": self._hall.image, "media-address": "127.0.0.1:0"},
            )
        )
        self._providers.append(provider)
        await provider.start()
        return provider

    async def start(self) -> None:
        for index in range(HOSTS):
            await self._hall.enlist(index)
        body = {"apiVersion": "autonodes.io/v1alpha1", "kind": "MetalNodeClass", **self.node_class}
        await self._kube.apply(node_class("MetalNodeClass"), body, field_manager="test")
        self._provider = await self._new(self.cluster)
        await self._until_free(HOSTS)

    async def _until_free(self, count: int) -> None:
        statuses: list[Mapping[str, Any]] = []
        try:
            async with asyncio.timeout(_WITHIN):
                while True:
                    statuses = [each.get("status") or {} for each in await self._kube.list(BAREMETALHOSTS)]
                    if sum(each.get("state") == "Available" for each in statuses) >= count:
                        return
                    self.provider.engine.wake()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not all are available: {statuses}") from None

    async def close(self) -> None:
        for provider in self._providers:
            await provider.close()
        await super().close()
        await Allocations(self._kube).change(lambda table: table.clear())

    @property
    def provider(self) -> MetalProvider:
        return self._provider

    @property
    def node_class(self) -> Mapping[str, Any]:
        return {"metadata": {"name": "default"}, "spec": {"image": self._hall.image}}

    async def restart(self) -> MetalProvider:
        self._provider = await self._new(self.cluster)
        return self._provider

    async def stranger(self) -> MetalProvider:
        return await self._new("another")

    async def _table(self) -> dict[str, Allocation]:
        table = await Allocations(self._kube).read()
        return {uid: each for uid, each in table.items() if each.cluster == self.cluster}

    async def count(self, claim_uid: str) -> int:
        found = (await self._table()).get(claim_uid)
        return int(found is not None and not found.terminating)

    async def leftovers(self) -> Sequence[str]:
        seeds = await self._kube.list(SECRETS, "kube-system", label_selector=LABEL)
        return [*(await self._table()), *(each["metadata"]["name"] for each in seeds)]

    async def tags(self, machine: Machine) -> Mapping[str, str]:
        found = (await self._table())[machine.claim_uid]
        return {
            "cluster": found.cluster,
            "claim-uid": found.claim_uid,
            "claim": found.claim_name,
            "nodepool": found.node_pool,
        }

    async def boot_files(self, machine: Machine) -> Mapping[str, tuple[bytes, int]]:
        selector = f"autonodes.io/claim-uid={machine.claim_uid}"
        (seed,) = await self._kube.list(SECRETS, "kube-system", label_selector=selector)
        script, about = (base64.b64decode(seed["data"][name]).decode() for name in (USER_DATA, META_DATA))
        return files_of(Seed(script, about).volume())

    def unusable(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        image = self._hall.image
        return (
            ({"metadata": {"name": "default"}, "spec": {}}, "image"),
            ({"metadata": {"name": "default"}, "spec": {"image": image, "hostSelector": {"row": "9"}}}, "row=9"),
        )

    def drifts(self) -> Sequence[DriftCase]:
        image = self._hall.image
        return (
            DriftCase(node_class={"spec": {"image": f"{image}?new"}}, reason="ImageChanged"),
            DriftCase(node_class={"spec": {"image": image, "hostSelector": {"row": "9"}}}, reason="HostNotSelected"),
        )

    async def sell_out(self, offerings: Sequence[tuple[str, str, str]]) -> None:
        """Another cluster takes all hosts of these zones that are left."""
        zones = {zone for _, zone, _ in offerings}
        hosts = [each for each in await self._kube.list(BAREMETALHOSTS) if each["spec"]["zone"] in zones]

        def take(table: dict[str, Allocation]) -> None:
            taken = {each.host for each in table.values()}
            for host in hosts:
                name, uid = host["metadata"]["name"], host["metadata"]["uid"]
                if name not in taken:
                    table[uid] = Allocation(
                        **{"claim_uid": uid, "claim_name": uid, "cluster": "other", "node_pool": "", "host": name},
                        **{"node_class": "", "image": "", "instance_type": "", "zone": "", "created_at": 0.0},
                    )

        await Allocations(self._kube).change(take)

    def pauses(self) -> Sequence[float]:
        return super().pauses()[:3]


@contextlib.asynccontextmanager
async def metal_rig(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[MetalRig]:
    plane: RunningControlPlane = request.getfixturevalue("plane")
    emulated: Emulator = request.getfixturevalue("emulated")
    async with (
        FaultProxy(plane.kubeconfig).running() as proxy,
        KubeClient.from_kubeconfig(plane.kubeconfig) as kube,
        Hall(kube, emulated).running() as hall,
    ):
        rig = MetalRig(proxy, kube, hall, directory)
        try:
            await rig.start()
            yield rig
        finally:
            await rig.close()
