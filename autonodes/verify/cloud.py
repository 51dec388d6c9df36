"""A provider that behaves like a cloud: it sells out, throttles, lags, loses answers, and keeps what was bought.

Machines are files in a directory, so that they outlive the controller that bought them. `purchases` is the bill: one
line for each machine that was ever bought.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autonodes.controllers.clock import SystemClock
from autonodes.core.clock import Clock
from autonodes.core.labels import ARCH, CAPACITY_ON_DEMAND, CAPACITY_TYPE, INSTANCE_TYPE, OS, ZONE
from autonodes.core.model import InstanceType, Offering
from autonodes.core.requirements import Requirements
from autonodes.provider import (
    InsufficientCapacityError,
    Interruption,
    LaunchRequest,
    Machine,
    MachineNotFoundError,
    NodeClassNotReadyError,
    ProviderError,
    ProviderID,
    RepairPolicy,
)

GIB = 2**30

Record = dict[str, Any]
"""What the cloud knows of a machine."""


def size(name: str, cores: int, *, price: float | None = None, zones: Sequence[str] = ("a", "b")) -> InstanceType:
    """So many cores, twice as many GiB, at five cents a core and hour."""
    return InstanceType(
        name=name,
        requirements=Requirements.from_labels({ARCH: "amd64", OS: "linux"}),
        capacity={"cpu": cores * 1000, "memory": 2 * cores * GIB, "pods": 110, "ephemeral-storage": 20 * GIB},
        overhead={"cpu": 100},
        offerings=tuple(
            Offering(zone=zone, capacity_type=CAPACITY_ON_DEMAND, price=0.05 * cores if price is None else price)
            for zone in zones
        ),
    )


SIZES = (size("small", 2), size("medium", 4), size("large", 16))


class Cloud:
    """:param directory: where the machines are; another `Cloud` of the same directory sees the same machines
    :param stock: how many more machines of a type and zone can be bought; what is not in it never runs out
    """

    name = "cloud"
    node_class_kind = "LocalNodeClass"

    def __init__(
        self,
        directory: Path,
        *,
        sizes: Iterable[InstanceType] = SIZES,
        stock: Mapping[tuple[str, str], int] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.sizes = tuple(sizes)
        self.stock = dict(stock or {})
        self.sold_out: set[tuple[str, str]] = set()
        self.errors: dict[str, deque[Exception]] = {}
        self.lost_answers = 0
        self.deletion_takes = 1
        self.not_ready = ""
        self.policies: tuple[RepairPolicy, ...] = ()
        self.notices: list[Interruption] = []
        self.drifted = ""
        """Why every machine has drifted."""
        self.calls: list[str] = []
        self._asked_to_go: dict[str, int] = {}

    def fail(self, call: str, *errors: Exception) -> None:
        """The next calls of this name raise these."""
        self.errors.setdefault(call, deque()).extend(errors)

    async def _called(self, call: str) -> None:
        self.calls.append(call)
        await asyncio.sleep(0)
        if self.errors.get(call):
            raise self.errors[call].popleft()

    async def start(self) -> None:
        await self._called("start")

    async def close(self) -> None:
        pass

    async def validate(self, node_class: Mapping[str, Any]) -> None:
        await self._called("validate")
        if self.not_ready:
            raise NodeClassNotReadyError(self.not_ready)

    async def instance_types(self, node_class: Mapping[str, Any]) -> Sequence[InstanceType]:
        await self._called("instance_types")
        return [self._as_sold(each) for each in self.sizes]

    def _as_sold(self, type_: InstanceType) -> InstanceType:
        offerings = tuple(
            replace(each, available=(type_.name, each.zone) not in self.sold_out) for each in type_.offerings
        )
        return replace(type_, offerings=offerings)

    async def create(self, request: LaunchRequest) -> Machine:
        await self._called("create")
        found = self._of_claim(request.claim_uid)
        if found is None:
            found = self.buy(request)
        await asyncio.sleep(0)
        if self.lost_answers:
            self.lost_answers -= 1
            raise ProviderError("the answer is lost")
        return machine_of(found)

    def buy(self, request: LaunchRequest) -> Record:
        """One machine more, whatever was bought before."""
        for type_, offering in request.candidates:
            key = type_.name, offering.zone
            if self.stock.get(key, 1) <= 0:
                self.sold_out.add(key)
                continue
            if key in self.stock:
                self.stock[key] -= 1
            return self._write(request, type_, offering)
        raise InsufficientCapacityError("sold out")

    def _write(self, request: LaunchRequest, type_: InstanceType, offering: Offering) -> Record:
        identity = f"{request.claim_uid}.{uuid.uuid4().hex}"
        record = {
            "provider_id": f"cloud://{identity}",
            "claim_uid": request.claim_uid,
            "claim_name": request.claim_name,
            "instance_type": type_.name,
            "zone": offering.zone,
            "capacity_type": offering.capacity_type,
            "created_at": self._clock.now(),
            "capacity": dict(type_.capacity),
            "allocatable": dict(type_.allocatable),
            "node_name": request.bootstrap.node_name,
            "taints": [[taint.key, taint.value, taint.effect] for taint in request.taints],
        }
        with (self._directory / "purchases").open("a") as bill:
            bill.write(f"{request.claim_uid} {identity}\n")
        self._put(record)
        return record

    def _put(self, record: Mapping[str, Any]) -> None:
        path = self._path(record["provider_id"])
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps(record))
        aside.rename(path)

    def records(self) -> list[Record]:
        """What the cloud itself knows of all machines."""
        return [json.loads(path.read_text()) for path in sorted(self._directory.glob("*.json"))]

    def record(self, provider_id: str) -> Record:
        """What the cloud itself knows of a machine that is there."""
        found: Record = json.loads(self._path(provider_id).read_text())
        return found

    def has(self, provider_id: str) -> bool:
        return self._path(provider_id).exists()

    def _path(self, provider_id: str) -> Path:
        return self._directory / f"{provider_id.removeprefix('cloud://')}.json"

    def _of_claim(self, uid: str) -> Record | None:
        return next((json.loads(path.read_text()) for path in self._directory.glob(f"{uid}.*.json")), None)

    @property
    def purchases(self) -> list[str]:
        """The claim's UID of each machine that was ever bought."""
        bill = self._directory / "purchases"
        return [line.split()[0] for line in bill.read_text().splitlines()] if bill.exists() else []

    def vanish(self, provider_id: str) -> None:
        """The machine is gone, as after a host failure."""
        self._path(provider_id).unlink()

    def restore(self, record: Mapping[str, Any]) -> None:
        """It was there all the time."""
        self._put(record)

    def abandon(self, *, age: float, claim_uid: str = "nobody") -> str:
        """A machine that no claim knows of, as old as that."""
        record = {
            "provider_id": f"cloud://{claim_uid}.{uuid.uuid4().hex}",
            "claim_uid": claim_uid,
            "claim_name": "gone",
            "instance_type": "small",
            "zone": "a",
            "capacity_type": CAPACITY_ON_DEMAND,
            "created_at": self._clock.now() - age,
            "capacity": {},
            "allocatable": {},
            "node_name": "",
            "taints": [],
        }
        self._put(record)
        return str(record["provider_id"])

    async def delete(self, provider_id: ProviderID) -> None:
        await self._called("delete")
        path = self._path(provider_id)
        if not path.exists():
            raise MachineNotFoundError(provider_id)
        times = self._asked_to_go[provider_id] = self._asked_to_go.get(provider_id, 0) + 1
        if times >= self.deletion_takes:
            path.unlink()

    async def get(self, provider_id: ProviderID) -> Machine:
        await self._called("get")
        path = self._path(provider_id)
        if not path.exists():
            raise MachineNotFoundError(provider_id)
        return machine_of(json.loads(path.read_text()))

    async def list(self) -> Sequence[Machine]:
        await self._called("list")
        return [machine_of(record) for record in self.records()]

    async def is_drifted(self, machine: Machine, node_class: Mapping[str, Any]) -> str | None:
        return self.drifted or None

    def repair_policies(self) -> Sequence[RepairPolicy]:
        return self.policies

    async def interruptions(self) -> Sequence[Interruption]:
        await self._called("interruptions")
        return [notice for notice in self.notices if self.has(notice.provider_id)]


def machine_of(record: Mapping[str, Any]) -> Machine:
    """As a provider shows it."""
    return Machine(
        provider_id=ProviderID(record["provider_id"]),
        claim_uid=record["claim_uid"],
        claim_name=record["claim_name"],
        instance_type=record["instance_type"],
        zone=record["zone"],
        capacity_type=record["capacity_type"],
        state="running",
        created_at=record["created_at"],
        capacity=record["capacity"],
        allocatable=record["allocatable"],
        labels={
            INSTANCE_TYPE: record["instance_type"],
            ZONE: record["zone"],
            CAPACITY_TYPE: record["capacity_type"],
            ARCH: "amd64",
            OS: "linux",
        },
        image="cloud-image",
    )
