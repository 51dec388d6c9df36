"""Whether a machine still is what its node class asks for."""

from __future__ import annotations

from typing import Final

from autonodes.core import labels
from providers.aws import tags
from providers.aws.machines import Instance
from providers.aws.selectors import Resolved

NODE_CLASS_DRIFT: Final = "NodeClassDrift"
AMI_DRIFT: Final = "AMIDrift"
SUBNET_DRIFT: Final = "SubnetDrift"
SECURITY_GROUP_DRIFT: Final = "SecurityGroupDrift"
CAPACITY_RESERVATION_DRIFT: Final = "CapacityReservationDrift"


def drift(found: Instance, resolved: Resolved) -> str | None:
    """The first reason that holds: the node class' own fields, then what its selectors stand for now.

    An image drifts when a newer one matches; a subnet, groups and a reservation when they match no longer.
    """
    if found.tags.get(tags.NODE_CLASS_HASH) != resolved.hash:
        return NODE_CLASS_DRIFT
    if found.raw.get("ImageId") not in resolved.images.values():
        return AMI_DRIFT
    subnet = found.raw.get("SubnetId")
    if subnet and subnet not in resolved.subnet_ids:
        return SUBNET_DRIFT
    if found.groups and found.groups != frozenset(resolved.groups):
        return SECURITY_GROUP_DRIFT
    if found.tags.get(tags.CAPACITY_TYPE) == labels.CAPACITY_RESERVED:
        reservation = found.raw.get("CapacityReservationId")
        if reservation not in {each.id for each in resolved.reservations}:
            return CAPACITY_RESERVATION_DRIFT
    return None
