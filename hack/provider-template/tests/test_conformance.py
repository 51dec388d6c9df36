"""The provider under autonodes' conformance kit, on infrastructure that sells out, throttles, lags and lies."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest_asyncio
from autonodes_example.machines import Infrastructure, InfrastructureError, Record, SoldOutError
from autonodes_example.provider import ExampleProvider

from autonodes.conformance import DriftCase, Fault, ProviderConformance, Rig
from autonodes.provider import Machine, ProviderContext


class Flaky(Infrastructure):
    """The infrastructure, on a bad day. A fake of your own must misbehave as the real one does."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.lost_answers = self.refusals = self.broken_lists = 0
        self.down = False
        self.sold_out: set[tuple[str, str]] = set()

    async def order(self, record: Record) -> Record:
        self._answer()
        if (record["type"], record["zone"]) in self.sold_out:
            raise SoldOutError("sold out")
        done = await super().order(record)
        if self.lost_answers:
            self.lost_answers -= 1
            raise InfrastructureError("the connection was lost")
        return done

    async def find(self, uid: str) -> Record | None:
        self._answer()
        return await super().find(uid)

    async def all(self) -> list[Record]:
        self._answer()
        if self.broken_lists:
            self.broken_lists -= 1
            raise InfrastructureError("the list broke off")
        return await super().all()

    async def remove(self, uid: str) -> None:
        self._answer()
        await super().remove(uid)

    def _answer(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise InfrastructureError("too many requests")
        if self.down:
            raise InfrastructureError("no answer")


class ExampleRig(Rig):
    without: ClassVar = {Fault.NOTICE: "nobody takes machines away here"}

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.infrastructure = Flaky(directory)
        self._provider = self._new("conformance")

    def _new(self, cluster: str) -> ExampleProvider:
        context = ProviderContext(
            cluster=cluster,
            state_dir=self._directory,
            component_dirs=(),
            images=(),
            uplink="",
            kube=None,  # type: ignore[arg-type]  # nothing is asked of the cluster
        )
        return ExampleProvider(context, infrastructure=self.infrastructure)

    @property
    def provider(self) -> ExampleProvider:
        return self._provider

    @property
    def node_class(self) -> Mapping[str, Any]:
        return {"metadata": {"name": "default"}, "spec": {}}

    async def restart(self) -> ExampleProvider:
        self._provider = self._new("conformance")
        return self._provider

    async def stranger(self) -> ExampleProvider:
        return self._new("another")

    async def count(self, claim_uid: str) -> int:
        return int(await Infrastructure(self._directory).find(claim_uid) is not None)

    async def leftovers(self) -> Sequence[str]:
        return [record["uid"] for record in await Infrastructure(self._directory).all()]

    async def tags(self, machine: Machine) -> Mapping[str, str]:
        record = await Infrastructure(self._directory).find(machine.claim_uid)
        assert record is not None
        tags: Mapping[str, str] = record["tags"]
        return tags

    async def boot_files(self, machine: Machine) -> Mapping[str, tuple[bytes, int]]:
        record = await Infrastructure(self._directory).find(machine.claim_uid)
        assert record is not None
        return {path: (bytes.fromhex(content), mode) for path, (content, mode) in record["boot"].items()}

    def unusable(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        unknown = [{"name": "a", "cpu": "many", "memory": "1Gi", "price": 1.0}]
        return (({"metadata": {"name": "unknown"}, "spec": {"instanceTypes": unknown}}, "many"),)

    def drifts(self) -> Sequence[DriftCase]:
        return (DriftCase(node_class={"spec": {"zones": ["elsewhere"]}}, reason="ZoneNotFound"),)

    async def sell_out(self, offerings: Sequence[tuple[str, str, str]]) -> None:
        self.infrastructure.sold_out |= {(name, zone) for name, zone, _ in offerings}

    async def lose_answer(self) -> None:
        self.infrastructure.lost_answers = 1

    async def throttle(self, requests: int) -> None:
        self.infrastructure.refusals = requests

    def pauses(self) -> Sequence[float]:
        return ()  # it leaves it to the controller to try again

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self.infrastructure.down = True
        yield
        self.infrastructure.down = False

    async def break_list(self) -> None:
        self.infrastructure.broken_lists = 1


class TestExample(ProviderConformance):
    @pytest_asyncio.fixture
    async def rig(self, tmp_path: Path) -> AsyncIterator[Rig]:
        yield ExampleRig(tmp_path)
