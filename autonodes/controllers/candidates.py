"""Which offerings will do for a claim, best first."""

from __future__ import annotations

from collections.abc import Iterable

from autonodes.core import labels
from autonodes.core.model import InstanceType, Offering
from autonodes.core.requirements import Requirements
from autonodes.core.resources import Resources, fits

Candidate = tuple[InstanceType, Offering]


def candidates(
    requirements: Requirements, requests: Resources, instance_types: Iterable[InstanceType]
) -> tuple[Candidate, ...]:
    """Cheapest first; equal prices by name, zone and capacity type, so that the order is always the same.

    Only what is available, has a price, meets the requirements and holds the requests.
    """
    types = tuple(instance_types)
    asked = _asked_of_types(requirements, types)
    found = [
        (instance_type, offering)
        for instance_type in types
        if requirements.allowed(labels.INSTANCE_TYPE).has(instance_type.name)
        and fits(requests, instance_type.allocatable)
        and instance_type.requirements.compatible(asked)
        for offering in instance_type.offerings
        if _will_do(offering, requirements)
    ]
    return tuple(sorted(found, key=_order))


def _asked_of_types(requirements: Requirements, types: Iterable[InstanceType]) -> Requirements:
    """The labels that a type decides: the well-known ones and those that any type defines. Its name is looked at
    apart, for a type need not repeat it; the zone and the capacity type are the offering's, the rest is the claim's
    own."""
    decided = labels.WELL_KNOWN.union(*(each.requirements for each in types))
    return requirements.only(decided - {labels.INSTANCE_TYPE, labels.ZONE, labels.CAPACITY_TYPE, labels.NODE_POOL})


def _will_do(offering: Offering, requirements: Requirements) -> bool:
    return (
        offering.available
        and offering.price is not None
        and offering.count != 0
        and requirements.allowed(labels.ZONE).has(offering.zone)
        and requirements.allowed(labels.CAPACITY_TYPE).has(offering.capacity_type)
    )


def _order(candidate: Candidate) -> tuple[float, str, str, str]:
    instance_type, offering = candidate
    return offering.price or 0.0, instance_type.name, offering.zone, offering.capacity_type
