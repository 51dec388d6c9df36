"""The kwok provider behind a proxy that breaks its API server: that is all the infrastructure it has."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from autonodes.conformance import DriftCase, Fault
from autonodes.kube.client import KubeClient
from autonodes.kube.resources import CONFIGMAPS, NODES
from autonodes.provider import Bootstrap, Machine, NodeSettings, ProviderContext
from autonodes.verify.faultproxy import FaultProxy
from conformance.behind_proxy import RigBehindProxy
from controlplane import RunningControlPlane
from providers.kwok import KwokProvider
from providers.kwok.records import LABEL, NAMESPACE


class NobodyJoins:
    """A simulated machine is its own Node: it asks nobody how to join."""

    def __init__(self, node_name: str) -> None:
        self.node_name = node_name

    def boot_plan(self, settings: NodeSettings) -> Any:
        raise AssertionError(f"asked to boot {settings.provider_id}")


class KwokRig(RigBehindProxy):
    without: ClassVar = {
        Fault.NOTICE: "nobody takes simulated machines away",
        Fault.BOOT_DATA: "a simulated machine does not boot",
    }

    def __init__(self, proxy: FaultProxy, kube: KubeClient, directory: Path) -> None:
        """:param kube: past the proxy"""
        super().__init__(proxy)
        self._kube, self._directory = kube, directory
        self.cluster = f"c-{uuid.uuid4().hex[:8]}"
        self._sold_out: list[dict[str, str]] = []
        self._provider = self._new(self.cluster)

    def _new(self, cluster: str) -> KwokProvider:
        return KwokProvider(
            ProviderContext(
                cluster=cluster,
                state_dir=self._directory,
                component_dirs=(),
                images=(),
                uplink="100.64.0.0/30",
                kube=self._client(),
            )
        )

    @property
    def provider(self) -> KwokProvider:
        return self._provider

    @property
    def node_class(self) -> Mapping[str, Any]:
        return {"metadata": {"name": "default"}, "spec": {"soldOut": self._sold_out} if self._sold_out else {}}

    async def restart(self) -> KwokProvider:
        self._provider = self._new(self.cluster)
        return self._provider

    async def stranger(self) -> KwokProvider:
        return self._new("another")

    async def count(self, claim_uid: str) -> int:
        records = await self._records(f"autonodes.io/claim-uid={claim_uid}")
        return len([each for each in records if each["data"].get("terminating") != "true"])

    async def leftovers(self) -> Sequence[str]:
        nodes = await self._kube.list(NODES)
        mine = [each["metadata"]["name"] for each in nodes if f"://{self.cluster}/" in each["spec"]["providerID"]]
        return mine + [each["metadata"]["name"] for each in await self._records(f"{LABEL}={self.cluster}")]

    async def tags(self, machine: Machine) -> Mapping[str, str]:
        (record,) = await self._records(f"autonodes.io/claim-uid={machine.claim_uid}")
        found = record["metadata"]["labels"]
        return {
            "cluster": found[LABEL],
            "claim-uid": found["autonodes.io/claim-uid"],
            "claim": record["data"]["claim"],
            "nodepool": record["data"]["nodePool"],
        }

    async def _records(self, selector: str) -> list[dict[str, Any]]:
        return await self._kube.list(CONFIGMAPS, NAMESPACE, label_selector=selector)

    def unusable(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        twice = [{"name": "a", "cpu": 1, "memory": "1Gi", "price": 1}] * 2
        unknown = [{"name": "a", "cpu": "many", "memory": "1Gi", "price": 1}]
        return (
            ({"metadata": {"name": "twice"}, "spec": {"instanceTypes": twice}}, "same name"),
            ({"metadata": {"name": "unknown"}, "spec": {"instanceTypes": unknown}}, "many"),
        )

    def drifts(self) -> Sequence[DriftCase]:
        other = [{"name": "a", "cpu": 1, "memory": "1Gi", "price": 1}]
        return (
            DriftCase(node_class={"spec": {"zones": ["elsewhere"]}}, reason="OfferingNotFound"),
            DriftCase(node_class={"spec": {"instanceTypes": other}}, reason="InstanceTypeNotFound"),
        )

    async def sell_out(self, offerings: Sequence[tuple[str, str, str]]) -> None:
        keys = ("instanceType", "zone", "capacityType")
        self._sold_out += [dict(zip(keys, offering, strict=True)) for offering in offerings]

    def bootstrap(self, node_name: str) -> Bootstrap:
        return NobodyJoins(node_name)


@contextlib.asynccontextmanager
async def kwok_rig(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[KwokRig]:
    plane: RunningControlPlane = request.getfixturevalue("plane")
    async with FaultProxy(plane.kubeconfig).running() as proxy, KubeClient.from_kubeconfig(plane.kubeconfig) as kube:
        rig = KwokRig(proxy, kube, directory)
        try:
            await rig.provider.start()
            yield rig
        finally:
            await rig.close()
