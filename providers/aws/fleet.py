"""An order as EC2 takes it: a launch template, and a fleet of type ``instant`` that chooses among its overrides.

On demand EC2 gives the cheapest pool that has room, as spot the one with the best of price and depth. Reserved capacity
is bought by pointing the template at its reservation. The answer names what was sold, and why not what was not.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from autonodes.core import labels
from autonodes.core.model import InstanceType, Offering
from autonodes.core.quantities import parse_resource
from autonodes.provider import CreateError, InsufficientCapacityError, ProviderError
from providers.aws import tags
from providers.aws.faults import Fault, meaning
from providers.aws.instancetypes import EFA
from providers.aws.launches import Bought
from providers.aws.selectors import Resolved

Candidate = tuple[InstanceType, Offering]

MOST_TYPES: Final = 60
"""In one order; the cheapest ones."""
_MOST_OVERRIDES: Final = 300
"""By EC2's rule."""
_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Lot:
    """What one fleet can be asked for: candidates that differ in nothing that a template says.

    :param arch: Kubernetes' word
    :param reservation: "" if it is none
    :param efa: adapters to attach
    """

    capacity_type: str
    arch: str
    reservation: str
    efa: int


def lots(candidates: Iterable[Candidate]) -> dict[Lot, list[Candidate]]:
    """In the order of their first, and so best, candidate. Spot that is dearer than the cheapest on demand is left out
    where there is both."""
    found: dict[Lot, list[Candidate]] = {}
    for candidate in candidates:
        found.setdefault(_lot(candidate), []).append(candidate)
    bound = min(
        (price for lot, each in found.items() if lot.capacity_type == labels.CAPACITY_ON_DEMAND
         for _, offering in each if (price := offering.price) is not None),
        default=float("inf"),
    )  # fmt: skip
    kept = {
        lot: [each for each in members if lot.capacity_type != labels.CAPACITY_SPOT or (each[1].price or 0.0) <= bound]
        for lot, members in found.items()
    }
    return {lot: _cheapest(members) for lot, members in kept.items() if members}


def _lot(candidate: Candidate) -> Lot:
    instance_type, offering = candidate
    arch = instance_type.requirements.labels().get(labels.ARCH, "")
    return Lot(offering.capacity_type, arch, offering.reservation, instance_type.capacity.get(EFA, 0))


def _cheapest(members: Sequence[Candidate]) -> list[Candidate]:
    names = list(dict.fromkeys(instance_type.name for instance_type, _ in members))[:MOST_TYPES]
    return [each for each in members if each[0].name in names][:_MOST_OVERRIDES]


def template(batch: str, lot: Lot, resolved: Resolved, user_data: bytes, *, cluster: str) -> dict[str, Any]:
    """CreateLaunchTemplate's arguments. It lives for as long as the order."""
    spec = resolved.spec
    data: dict[str, Any] = {
        "ImageId": resolved.images[lot.arch],
        "UserData": base64.b64encode(user_data).decode(),
        "IamInstanceProfile": {"Name": resolved.profile},
        "MetadataOptions": {
            "HttpEndpoint": spec.metadata_options.http_endpoint,
            "HttpTokens": spec.metadata_options.http_tokens,
            "HttpPutResponseHopLimit": spec.metadata_options.http_put_response_hop_limit,
            "HttpProtocolIpv6": spec.metadata_options.http_protocol_ipv6,
            "InstanceMetadataTags": "enabled",
        },
        "Monitoring": {"Enabled": spec.detailed_monitoring},
        **_network(lot, resolved),
    }
    placement = {
        **({"GroupName": spec.placement_group} if spec.placement_group else {}),
        **({"Tenancy": spec.tenancy} if spec.tenancy != "default" else {}),
    }
    if placement:
        data["Placement"] = placement
    if spec.block_device_mappings:
        data["BlockDeviceMappings"] = [_disk(each) for each in spec.block_device_mappings]
    if lot.reservation:
        target = {"CapacityReservationTarget": {"CapacityReservationId": lot.reservation}}
        data["CapacityReservationSpecification"] = target
    return {
        "LaunchTemplateName": f"autonodes-{cluster}-{batch}",
        "ClientToken": batch,
        "LaunchTemplateData": data,
        "TagSpecifications": [_tagged("launch-template", {tags.CLUSTER: cluster, tags.BATCH: batch})],
    }


def _network(lot: Lot, resolved: Resolved) -> dict[str, Any]:
    public = resolved.spec.associate_public_ip_address
    if public is None and not lot.efa:
        return {"SecurityGroupIds": list(resolved.groups)}
    cards = [
        {
            "DeviceIndex": 0 if index == 0 else 1,
            "NetworkCardIndex": index,
            "Groups": list(resolved.groups),
            "DeleteOnTermination": True,
            **({"InterfaceType": "efa"} if lot.efa else {}),
            **({"AssociatePublicIpAddress": public} if public is not None and index == 0 else {}),
        }
        for index in range(max(1, lot.efa))
    ]
    return {"NetworkInterfaces": cards}


def _disk(mapping: Any) -> dict[str, Any]:
    ebs = mapping.ebs
    size = parse_resource("ephemeral-storage", ebs.volume_size, path="volumeSize", capacity=True)
    told = {
        "VolumeSize": -(-size // _GIB),
        "VolumeType": ebs.volume_type,
        "Iops": ebs.iops,
        "Throughput": ebs.throughput,
        "Encrypted": ebs.encrypted,
        "KmsKeyId": ebs.kms_key_id,
        "SnapshotId": ebs.snapshot_id,
        "DeleteOnTermination": ebs.delete_on_termination,
    }
    return {
        "DeviceName": mapping.device_name,
        "Ebs": {key: value for key, value in told.items() if value is not None},
    }


def request(
    batch: str,
    members: Sequence[Candidate],
    lot: Lot,
    resolved: Resolved,
    marks: Mapping[str, str],
    *,
    count: int,
    name: str,
) -> dict[str, Any]:
    """CreateFleet's arguments.

    :param marks: tags of everything that is bought
    :param name: of the launch template
    """
    is_spot = lot.capacity_type == labels.CAPACITY_SPOT
    strategy = {"AllocationStrategy": "price-capacity-optimized"} if is_spot else {"AllocationStrategy": "lowest-price"}
    kinds = ("instance", "volume", "network-interface", "fleet", *(["spot-instances-request"] if is_spot else []))
    overrides = [
        {"InstanceType": instance_type.name, "SubnetId": resolved.subnets[offering.zone].id}
        for instance_type, offering in members
    ]
    return {
        "Type": "instant",
        "ClientToken": batch,
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": count,
            "DefaultTargetCapacityType": "spot" if is_spot else "on-demand",
        },
        "SpotOptions" if is_spot else "OnDemandOptions": strategy,
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "$Latest"},
                "Overrides": overrides,
            }
        ],
        "TagSpecifications": [_tagged(kind, marks) for kind in kinds],
    }


def _tagged(kind: str, marks: Mapping[str, str]) -> dict[str, Any]:
    return {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in sorted(marks.items())]}


def sold(answer: Mapping[str, Any], zones: Mapping[str, str], image: str) -> list[Bought]:
    """What the fleet got, always in the same order.

    :param zones: subnet → zone
    """
    found = []
    for each in answer.get("Instances", ()):
        override = each.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
        zone = override.get("AvailabilityZone") or zones.get(override.get("SubnetId", ""), "")
        found += [
            Bought(id=id_, instance_type=each["InstanceType"], zone=zone, image=image) for id_ in each["InstanceIds"]
        ]
    return sorted(found, key=lambda bought: bought.id)


def refused(answer: Mapping[str, Any], zones: Mapping[str, str]) -> list[tuple[str, str]]:
    """Type and zone of the pools that were out of capacity.

    :param zones: subnet → zone
    """
    found = set()
    for each in answer.get("Errors", ()):
        override = each.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
        zone = override.get("AvailabilityZone") or zones.get(override.get("SubnetId", ""))
        if meaning(each.get("ErrorCode", "")) is Fault.CAPACITY and zone and "InstanceType" in override:
            found.add((override["InstanceType"], zone))
    return sorted(found)


def shortage(answer: Mapping[str, Any], offerings: Sequence[tuple[str, str, str]]) -> ProviderError:
    """Why a fleet has not got what it was asked for.

    :param offerings: that were refused for want of capacity
    """
    errors = {str(each.get("ErrorCode")): str(each.get("ErrorMessage")) for each in answer.get("Errors", ())}
    text = json.dumps(errors) if errors else "no reason given"
    others = [code for code in errors if meaning(code) is not Fault.CAPACITY]
    if others and not offerings:
        return CreateError(others[0].replace(".", ""), f"EC2 refused the machine: {text}")
    return InsufficientCapacityError(f"EC2 has no capacity: {text}", offerings=offerings)
