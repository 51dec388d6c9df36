"""What a node class's selectors stand for now: images, subnets, security groups, reservations, the profile.

Looked up in the account, and kept for a minute: validation, catalogue, launch and drift ask for the same. What matches
nothing makes the node class unusable; it is said which selector that is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from autonodes.api.awsnodeclass import AMITerm, AWSNodeClass, AWSNodeClassSpec, SelectorTerm
from autonodes.api.validation import explain
from autonodes.core.clock import Clock
from autonodes.core.quantities import parse_resource
from autonodes.provider import NodeClassNotReadyError
from providers.aws.calls import Calls
from providers.aws.faults import AwsError, Fault, as_not_ready
from providers.aws.instancetypes import ROOT_VOLUME, Sizing
from providers.aws.profiles import ensure_profile

_KEPT: Final = 60.0
"""Seconds."""
_ARCHITECTURES: Final = {"x86_64": "amd64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Subnet:
    """:param free: addresses that are left"""

    id: str
    zone: str
    free: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """:param free: machines that can still be started in it"""

    id: str
    instance_type: str
    zone: str
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """:param hash: of what all machines of the class have in common and no selector looks up
    :param images: Kubernetes' architecture → image id; ``image_ids`` are all that match, older ones too
    :param subnets: by zone the one with the most free addresses; ``subnet_ids`` are all
    :param profile: name of the instance profile
    """

    name: str
    spec: AWSNodeClassSpec
    hash: str
    sizing: Sizing
    images: Mapping[str, str]
    subnets: Mapping[str, Subnet]
    subnet_ids: frozenset[str]
    groups: tuple[str, ...]
    reservations: tuple[Reservation, ...]
    profile: str


class Selectors:
    """:param cluster: goes into the name of a profile that has to be made"""

    def __init__(self, calls: Calls, clock: Clock, *, cluster: str) -> None:
        self._calls, self._clock, self._cluster = calls, clock, cluster
        self._known: dict[str, tuple[float, Resolved]] = {}
        self._lock = asyncio.Lock()

    async def resolve(self, node_class: Mapping[str, Any], *, fresh: bool = False) -> Resolved:
        """:param fresh: look everything up again
        :raises NodeClassNotReadyError: it can't be read, or something matches nothing
        :raises AwsError: it can't be known now
        """
        parsed = parse(node_class)
        key = json.dumps([parsed.name, node_class.get("spec")], sort_keys=True)
        async with self._lock:
            known = self._known.get(key)
            if known is not None and not fresh and self._clock.now() < known[0] + _KEPT:
                return known[1]
            try:
                resolved = await self._look_up(parsed)
            except AwsError as error:
                raise as_not_ready(error) from error
            self._known = {each: value for each, value in self._known.items() if self._clock.now() < value[0] + _KEPT}
            self._known[key] = (self._clock.now(), resolved)
            return resolved

    async def _look_up(self, node_class: AWSNodeClass) -> Resolved:
        spec = node_class.spec
        images, subnets, groups, reservations, profile, _ = await asyncio.gather(
            self._images(spec.ami_selector_terms),
            self._subnets(spec.subnet_selector_terms),
            self._groups(spec.security_group_selector_terms),
            self._reservations(spec.capacity_reservation_selector_terms),
            ensure_profile(self._calls, spec, cluster=self._cluster),
            self._check_placement_group(spec.placement_group),
        )
        by_zone: dict[str, Subnet] = {}
        for subnet in sorted(subnets, key=lambda each: (each.free, each.id)):
            by_zone[subnet.zone] = subnet
        return Resolved(
            name=node_class.name,
            spec=spec,
            hash=static_hash(spec),
            sizing=sizing(spec),
            images=images,
            subnets=dict(sorted(by_zone.items())),
            subnet_ids=frozenset(subnet.id for subnet in subnets),
            groups=groups,
            reservations=reservations,
            profile=profile,
        )

    async def _images(self, terms: Sequence[AMITerm]) -> Mapping[str, str]:
        """The newest of each architecture."""
        found: dict[str, Any] = {}
        for term in terms:
            owners = {} if term.id else {"Owners": [term.owner]}
            filters = [*_filters(term, id_="image-id", name="name"), {"Name": "state", "Values": ["available"]}]
            for each in await self._calls.items("ec2", "DescribeImages", "Images", Filters=filters, **owners):
                found[each["ImageId"]] = each
        newest = sorted(found.values(), key=lambda each: (each.get("CreationDate", ""), each["ImageId"]))
        known = {_ARCHITECTURES[each["Architecture"]]: str(each["ImageId"]) for each in newest
                 if each.get("Architecture") in _ARCHITECTURES}  # fmt: skip
        if not known:
            raise _nothing("amiSelectorTerms", "available image for amd64 or arm64", terms)
        return known

    async def _subnets(self, terms: Sequence[SelectorTerm]) -> tuple[Subnet, ...]:
        rows = await self._matching("DescribeSubnets", "Subnets", terms, id_="subnet-id", name="tag:Name")
        if not rows:
            raise _nothing("subnetSelectorTerms", "subnet", terms)
        return tuple(Subnet(each["SubnetId"], each["AvailabilityZone"], each["AvailableIpAddressCount"])
                     for each in rows)  # fmt: skip

    async def _groups(self, terms: Sequence[SelectorTerm]) -> tuple[str, ...]:
        rows = await self._matching(
            "DescribeSecurityGroups", "SecurityGroups", terms, id_="group-id", name="group-name"
        )
        if not rows:
            raise _nothing("securityGroupSelectorTerms", "security group", terms)
        return tuple(sorted({each["GroupId"] for each in rows}))

    async def _reservations(self, terms: Sequence[SelectorTerm]) -> tuple[Reservation, ...]:
        if not terms:
            return ()
        rows = await self._matching(
            "DescribeCapacityReservations", "CapacityReservations", terms, id_="capacity-reservation-id",
            name="tag:Name", state="active",
        )  # fmt: skip
        if not rows:
            raise _nothing("capacityReservationSelectorTerms", "active capacity reservation", terms)
        known = {
            each["CapacityReservationId"]: Reservation(
                id=each["CapacityReservationId"],
                instance_type=each["InstanceType"],
                zone=each["AvailabilityZone"],
                free=each["AvailableInstanceCount"],
            )
            for each in rows
        }
        return tuple(known[key] for key in sorted(known))

    async def _matching(
        self, operation: str, key: str, terms: Sequence[SelectorTerm], *, id_: str, name: str, state: str = ""
    ) -> list[Any]:
        found = []
        for term in terms:
            filters = _filters(term, id_=id_, name=name)
            if state:
                filters.append({"Name": "state", "Values": [state]})
            found += await self._calls.items("ec2", operation, key, Filters=filters)
        return found

    async def _check_placement_group(self, name: str | None) -> None:
        if name is None:
            return
        filters = [{"Name": "group-name", "Values": [name]}, {"Name": "state", "Values": ["available"]}]
        try:
            answer = await self._calls.call("ec2", "DescribePlacementGroups", Filters=filters)
        except AwsError as error:
            if error.fault is not Fault.NOT_FOUND:
                raise
            answer = {}
        if not answer.get("PlacementGroups"):
            raise NodeClassNotReadyError(f"spec.placementGroup: {name!r}: there is no such placement group; create it")


def parse(node_class: Mapping[str, Any]) -> AWSNodeClass:
    """:raises NodeClassNotReadyError: it can't be read"""
    try:
        return AWSNodeClass.from_api({"metadata": node_class.get("metadata", {}), "spec": node_class.get("spec", {})})
    except ValidationError as error:
        raise NodeClassNotReadyError("; ".join(map(str, explain(error, AWSNodeClass)))) from error


def static_hash(spec: AWSNodeClassSpec) -> str:
    """Of all fields but the selectors, which are compared by what they stand for."""
    own = spec.model_dump(mode="json", exclude={
        "ami_selector_terms", "subnet_selector_terms", "security_group_selector_terms",
        "capacity_reservation_selector_terms",
    })  # fmt: skip
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16]


def sizing(spec: AWSNodeClassSpec) -> Sizing:
    """:raises NodeClassNotReadyError: the root volume's size is none"""
    root = next((each for each in spec.block_device_mappings if each.root_volume), None)
    size = ROOT_VOLUME if root is None else parse_resource(
        "ephemeral-storage", root.ebs.volume_size, path="spec.blockDeviceMappings.ebs.volumeSize", capacity=True
    )  # fmt: skip
    return Sizing(root_volume=size, max_pods=spec.max_pods, efa=spec.efa)


def _filters(term: SelectorTerm, *, id_: str, name: str) -> list[dict[str, Any]]:
    found = [
        {"Name": "tag-key", "Values": [key]} if value == "*" else {"Name": f"tag:{key}", "Values": [value]}
        for key, value in sorted((term.tags or {}).items())
    ]
    if term.name is not None:
        found.append({"Name": name, "Values": [term.name]})
    if term.id is not None:
        found.append({"Name": id_, "Values": [term.id]})
    return found


def _nothing(field: str, what: str, terms: Sequence[SelectorTerm]) -> NodeClassNotReadyError:
    asked = json.dumps([each.model_dump(mode="json", exclude_none=True, by_alias=True) for each in terms])
    return NodeClassNotReadyError(f"spec.{field}: no {what} matches {asked}; tag one so, or change the terms")
