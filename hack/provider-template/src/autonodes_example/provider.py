"""The provider: the contract of `autonodes.provider` in the terms of example.

It remembers nothing: every call asks the infrastructure, so a restarted controller goes on where the last one stopped.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from autonodes.api.validation import explain
from autonodes.core import labels
from autonodes.core.errors import ConfigError
from autonodes.core.model import InstanceType, Offering
from autonodes.core.quantities import parse_resource
from autonodes.core.requirements import Requirement, Requirements
from autonodes.provider import (
    InsufficientCapacityError,
    Interruption,
    LaunchRequest,
    Machine,
    MachineNotFoundError,
    NodeClassNotReadyError,
    NodeSettings,
    ProviderContext,
    ProviderID,
    RepairPolicy,
)
from autonodes_example.machines import Infrastructure, Record, SoldOutError
from autonodes_example.nodeclass import ExampleNodeClass

SIZES = (
    {"name": "small", "cpu": 2, "memory": "4Gi", "price": 0.05},
    {"name": "large", "cpu": 8, "memory": "16Gi", "price": 0.2},
)
ZONES = ("a", "b")
TOLERATION = 600.0
"""Seconds that a node may be not ready before it is replaced."""

_UID = re.compile(r"[A-Za-z0-9-]{1,63}")


class ExampleProvider:
    """:param infrastructure: another one than the context's, for tests"""

    name = "example"
    node_class_kind = "ExampleNodeClass"

    def __init__(self, context: ProviderContext, *, infrastructure: Infrastructure | None = None) -> None:
        self._cluster = context.cluster
        self._infrastructure = infrastructure or Infrastructure(context.state_dir / self.name)

    async def start(self) -> None:
        """Check here that the infrastructure can be used, and raise `EnvironmentFault` if not."""

    async def close(self) -> None:
        """Close connections here."""

    async def validate(self, node_class: Mapping[str, Any]) -> None:
        instance_types(node_class)

    async def instance_types(self, node_class: Mapping[str, Any]) -> Sequence[InstanceType]:
        return instance_types(node_class)

    async def create(self, request: LaunchRequest) -> Machine:
        instance_types(request.node_class)
        found = await self._infrastructure.find(request.claim_uid)
        if found is None:
            found = await self._buy(request)
        return self._machine(found)

    async def _buy(self, request: LaunchRequest) -> Record:
        for chosen, offering in request.candidates:
            with contextlib.suppress(SoldOutError):
                return await self._infrastructure.order(self._record(request, chosen, offering))
        raise InsufficientCapacityError(f"sold out: {', '.join(each.name for each, _ in request.candidates)}")

    async def delete(self, provider_id: ProviderID) -> None:
        await self.get(provider_id)
        await self._infrastructure.remove(self._uid(provider_id))

    async def get(self, provider_id: ProviderID) -> Machine:
        record = await self._infrastructure.find(self._uid(provider_id))
        if record is None or record["tags"]["cluster"] != self._cluster:
            raise MachineNotFoundError(provider_id)
        return self._machine(record)

    async def list(self) -> Sequence[Machine]:
        records = await self._infrastructure.all()
        return [self._machine(each) for each in records if each["tags"]["cluster"] == self._cluster]

    async def is_drifted(self, machine: Machine, node_class: Mapping[str, Any]) -> str | None:
        offered = {each.name: each.offerings for each in instance_types(node_class)}.get(machine.instance_type)
        if offered is None:
            return "InstanceTypeNotFound"
        return None if machine.zone in {offering.zone for offering in offered} else "ZoneNotFound"

    def repair_policies(self) -> Sequence[RepairPolicy]:
        return [
            RepairPolicy(condition_type="Ready", condition_status=status, toleration=TOLERATION)
            for status in ("False", "Unknown")
        ]

    async def interruptions(self) -> Sequence[Interruption]:
        return ()

    def _record(self, request: LaunchRequest, chosen: InstanceType, offering: Offering) -> Record:
        shown = chosen.requirements.labels() | {
            labels.ZONE: offering.zone,
            labels.CAPACITY_TYPE: offering.capacity_type,
        }
        settings = NodeSettings(provider_id=self._provider_id(request.claim_uid), labels=shown)
        plan = request.bootstrap.boot_plan(settings)
        return {
            "uid": request.claim_uid,
            "tags": {
                "cluster": self._cluster,
                "claim-uid": request.claim_uid,
                "claim": request.claim_name,
                "nodepool": request.node_pool,
            },
            "type": chosen.name,
            "zone": offering.zone,
            "labels": shown,
            "capacity": dict(chosen.capacity),
            "created_at": time.time(),
            "boot": {file.path: [file.content.hex(), file.mode] for file in plan.files},
        }

    def _machine(self, record: Record) -> Machine:
        return Machine(
            provider_id=self._provider_id(record["uid"]),
            claim_uid=record["uid"],
            claim_name=record["tags"]["claim"],
            instance_type=record["type"],
            zone=record["zone"],
            capacity_type=labels.CAPACITY_ON_DEMAND,
            state="running",
            created_at=record["created_at"],
            capacity=record["capacity"],
            allocatable=record["capacity"],
            labels=record["labels"],
        )

    def _provider_id(self, uid: str) -> ProviderID:
        return ProviderID(f"{self.name}://{self._cluster}/{uid}")

    def _uid(self, provider_id: ProviderID) -> str:
        uid = provider_id.rpartition("/")[2]
        if provider_id != self._provider_id(uid) or not _UID.fullmatch(uid):
            raise MachineNotFoundError(provider_id)
        return uid


def instance_types(node_class: Mapping[str, Any]) -> tuple[InstanceType, ...]:
    """:raises NodeClassNotReadyError: the node class can't be read"""
    try:
        spec = ExampleNodeClass.from_api({"spec": node_class.get("spec") or {}}).spec
    except ValidationError as error:
        raise NodeClassNotReadyError("; ".join(map(str, explain(error, ExampleNodeClass)))) from error
    sizes = [each.model_dump() for each in spec.instance_types] or SIZES
    try:
        return tuple(_instance_type(size, spec.zones or ZONES, index) for index, size in enumerate(sizes))
    except ConfigError as error:
        raise NodeClassNotReadyError(str(error)) from error


def _instance_type(size: Mapping[str, Any], zones: Sequence[str], index: int) -> InstanceType:
    path = f"spec.instanceTypes[{index}]"
    shown = {labels.INSTANCE_TYPE: size["name"], labels.ARCH: "amd64", labels.OS: "linux"}
    return InstanceType(
        name=size["name"],
        requirements=Requirements(Requirement.of(key, "In", [value]) for key, value in shown.items()),
        capacity={
            "cpu": parse_resource("cpu", size["cpu"], path=f"{path}.cpu", capacity=True),
            "memory": parse_resource("memory", size["memory"], path=f"{path}.memory", capacity=True),
            "pods": 110,
        },
        overhead={},
        offerings=tuple(
            Offering(zone=zone, capacity_type=labels.CAPACITY_ON_DEMAND, price=size["price"]) for zone in zones
        ),
    )
