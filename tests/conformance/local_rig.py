"""The local provider on this host: real machines, that run nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from autonodes.conformance import DriftCase, Fault, Rig, Seed
from autonodes.provider import Machine
from local_machines import NODE_CLASS, Cluster, cluster
from providers.local import LocalProvider, cgroups

_ALONE = "this host is the infrastructure: when it does not answer, neither does the controller"


class LocalRig(Rig):
    without: ClassVar = {
        Fault.LOST_ANSWER: "a call of this process's own can't lose its answer; it is cut off instead",
        Fault.THROTTLING: "this host takes as many calls as it can",
        Fault.OUTAGE: _ALONE,
        Fault.BROKEN_LIST: _ALONE,
        Fault.NOTICE: "nobody takes machines of this host away",
    }
    many = 4
    one_stock = True

    def __init__(self, made: Cluster) -> None:
        self._made, self._context = made, made.context
        self._providers = [made.provider]

    async def close(self) -> None:
        for provider in self._providers:
            await provider.close()

    @property
    def provider(self) -> LocalProvider:
        return self._providers[-1]

    @property
    def node_class(self) -> Mapping[str, Any]:
        return NODE_CLASS

    async def restart(self) -> LocalProvider:
        self._providers.append(LocalProvider(self._context))
        await self.provider.start()
        return self.provider

    async def stranger(self) -> LocalProvider:
        elsewhere = self._context.state_dir.with_name("stranger")
        other = LocalProvider(dataclasses.replace(self._context, cluster="stranger", state_dir=elsewhere))
        self._providers.insert(0, other)
        return other

    def _directory(self, claim_uid: str) -> Path:
        return self._context.state_dir / "local" / "machines" / claim_uid

    async def count(self, claim_uid: str) -> int:
        directory = self._directory(claim_uid)
        return int(directory.exists() and not (directory / "deleting").exists())

    async def leftovers(self) -> Sequence[str]:
        group = self.provider.group
        machines = self._context.state_dir / "local" / "machines"
        return [
            *(f"process {pid}" for pid in cgroups.members(group)),
            *(f"control group {name}" for name in cgroups.children(group)),
            *(f"machine {path}" for path in (machines.iterdir() if machines.exists() else ())),
        ]

    async def tags(self, machine: Machine) -> Mapping[str, str]:
        record = json.loads((self._directory(machine.claim_uid) / "machine.json").read_text())
        return {
            "cluster": record["cluster"],
            "claim-uid": record["claim_uid"],
            "claim": record["claim_name"],
            "nodepool": record["node_pool"],
        }

    def unusable(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        huge = [{"name": "huge", "cpu": 100_000, "memory": "1Gi", "price": 1}]
        nameless = [{"cpu": 1, "memory": "1Gi", "price": 1}]
        return (
            ({"metadata": {"name": "huge"}, "spec": {"instanceTypes": huge}}, "no instance type fits this host"),
            ({"metadata": {"name": "nameless"}, "spec": {"instanceTypes": nameless}}, "instanceTypes[0].name"),
        )

    def drifts(self) -> Sequence[DriftCase]:
        other = [{"name": "a", "cpu": 1, "memory": "1Gi", "price": 1}]
        return (
            DriftCase(node_class={"spec": {"zones": ["elsewhere"]}}, reason="ZoneNotFound"),
            DriftCase(node_class={"spec": {"instanceTypes": other}}, reason="InstanceTypeNotFound"),
        )

    async def sell_out(self, offerings: Sequence[tuple[str, str, str]]) -> None:
        assert offerings
        options = {**self._context.options, "memory": "1Mi"}
        self._context = dataclasses.replace(self._context, options=options)
        await self.restart()

    def bootstrap(self, node_name: str) -> Seed:
        return Seed(node_name)

    async def boot_files(self, machine: Machine) -> Mapping[str, tuple[bytes, int]]:
        root = Path(f"/proc/{self.provider.first_process(machine.provider_id)}/root")
        return {
            f"/{path.relative_to(root)}": (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
            for path in (root / "etc/kubernetes").rglob("*")
            if path.is_file()
        }


@contextlib.asynccontextmanager
async def local_rig(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[LocalRig]:
    del request
    async with cluster(directory) as made:
        rig = LocalRig(made)
        try:
            yield rig
        finally:
            await rig.close()
    assert made.leftovers() == []
