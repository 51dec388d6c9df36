"""EC2's instances as the contract's machines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from autonodes.core import labels
from autonodes.core.model import InstanceType
from autonodes.provider import Machine, MachineNotFoundError, ProviderID
from providers.aws import tags
from providers.aws.instancetypes import Sizing, TypeRow, instance_type
from providers.aws.launches import Bought, Launch
from providers.aws.market import Market

State = Literal["pending", "running", "stopped", "terminating"]

_STATES: Final[Mapping[str, State]] = {
    "pending": "pending",
    "running": "running",
    "stopping": "stopped",
    "stopped": "stopped",
    "shutting-down": "terminating",
}
_ID: Final = re.compile(r"aws:///(?P<zone>[a-z0-9-]+)/(?P<id>i-[0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Instance:
    """What EC2 says of one.

    :param state: in EC2's words
    """

    id: str
    state: str
    tags: Mapping[str, str]
    raw: Mapping[str, Any]

    @property
    def is_gone(self) -> bool:
        return self.state == "terminated"

    @property
    def zone(self) -> str:
        return str(self.raw.get("Placement", {}).get("AvailabilityZone", ""))

    @property
    def groups(self) -> frozenset[str]:
        return frozenset(each["GroupId"] for each in self.raw.get("SecurityGroups", ()))


def instance(raw: Mapping[str, Any]) -> Instance:
    """As DescribeInstances has it."""
    marks = {each["Key"]: each["Value"] for each in raw.get("Tags", ())}
    return Instance(raw["InstanceId"], raw["State"]["Name"], marks, raw)


def provider_id(zone: str, instance_id: str) -> ProviderID:
    """As AWS' own cloud provider writes it."""
    return ProviderID(f"aws:///{zone}/{instance_id}")


def instance_id(given: str) -> str:
    """:raises MachineNotFoundError: it is another provider's"""
    found = _ID.fullmatch(given)
    if found is None:
        raise MachineNotFoundError(given)
    return found["id"]


def machine(found: Instance, market: Market, claim: tuple[str, str] | None) -> Machine:
    """:param claim: UID and name of whose it is; None if that was not decided yet"""
    raw = found.raw
    capacity_type = found.tags.get(tags.CAPACITY_TYPE) or raw.get("InstanceLifecycle", labels.CAPACITY_ON_DEMAND)
    offered = _type(market, raw["InstanceType"], tags.sizing_of(found.tags.get(tags.SIZING, "")))
    return _machine(
        provider_id=provider_id(found.zone, found.id),
        claim=claim or ("", ""),
        offered=offered,
        zone=found.zone,
        capacity_type=capacity_type,
        state=_STATES.get(found.state, "terminating"),
        created_at=raw["LaunchTime"].timestamp(),
        image=raw.get("ImageId", ""),
        addresses=tuple(
            address
            for card in raw.get("NetworkInterfaces", ())
            for each in card.get("PrivateIpAddresses", ())
            if (address := each.get("PrivateIpAddress"))
        )
        or tuple(filter(None, [raw.get("PrivateIpAddress")])),
    )


def bought_machine(launch: Launch, bought: Bought, claim: tuple[str, str], market: Market) -> Machine:
    """One that was ordered; EC2 may not show it yet."""
    return _machine(
        provider_id=provider_id(bought.zone, bought.id),
        claim=claim,
        offered=_type(market, bought.instance_type, tags.sizing_of(launch.sizing)),
        zone=bought.zone,
        capacity_type=launch.capacity_type,
        state="pending",
        created_at=launch.created_at,
        image=bought.image,
        addresses=(),
    )


def _machine(*, claim: tuple[str, str], offered: InstanceType, zone: str, capacity_type: str, **facts: Any) -> Machine:
    own = {labels.ZONE: zone, labels.CAPACITY_TYPE: capacity_type}
    return Machine(
        claim_uid=claim[0],
        claim_name=claim[1],
        instance_type=offered.name,
        zone=zone,
        capacity_type=capacity_type,
        capacity=offered.capacity,
        allocatable=offered.allocatable,
        labels=offered.requirements.labels() | own,
        **facts,
    )


_UNKNOWN: Final = TypeRow(arch="amd64", cpu=0, memory_mib=0, interfaces=1, addresses=1)
"""A type that is not on sale any more, of a machine that runs all the same."""


def _type(market: Market, name: str, sizing: Sizing) -> InstanceType:
    return _built(name, market.types.get(name, _UNKNOWN), market.region, sizing)


@lru_cache(maxsize=512)
def _built(name: str, row: TypeRow, region: str, sizing: Sizing) -> InstanceType:
    return instance_type(name, row, region, (), sizing)
