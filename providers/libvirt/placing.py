"""Which hypervisor gets a machine: one with room, in the zone of the cheapest candidate that there is room for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import libvirt

from autonodes.api.libvirtnodeclass import LibvirtHypervisor, LibvirtNodeClassSpec
from autonodes.core.errors import ConfigError
from autonodes.core.model import InstanceType, Offering
from autonodes.provider import InsufficientCapacityError, NodeClassNotReadyError, ProviderError
from providers.libvirt import catalogue, rooms
from providers.libvirt.catalogue import Shape
from providers.libvirt.connections import Connection
from providers.libvirt.errors import said
from providers.libvirt.fleet import Fleet
from providers.libvirt.rooms import Room

_LOOK_WITHIN: Final = 5.0
"""Seconds for a look at a hypervisor; one that takes longer is left out of this plan."""


async def look(fleet: Fleet, spec: LibvirtNodeClassSpec, limits: LibvirtHypervisor) -> Room:
    """What a hypervisor has left.

    :raises ProviderError: it does not answer, or lacks what the node class names
    """
    undefined = [
        (each.domain_uuid, catalogue.vcpus(each.cpu), catalogue.machine_memory(each.memory))
        for each in fleet.records.all()
        if each.uri == limits.uri
    ]

    def looking(connection: Connection) -> Room:
        rooms.check(connection, spec.pool, spec.network)
        return rooms.room(connection, limits, undefined=undefined)

    try:
        return await fleet.hypervisor(limits.uri).call(looking, within=_LOOK_WITHIN)
    except libvirt.libvirtError as error:
        raise ProviderError(f"{limits.uri}: {said(error)}") from error
    except ConfigError as error:
        raise NodeClassNotReadyError(str(error)) from error


async def looks(fleet: Fleet, spec: LibvirtNodeClassSpec) -> dict[str, Room | ProviderError]:
    """By hypervisor: what it has left, or why it can't be used."""
    outcomes = await asyncio.gather(*(look(fleet, spec, each) for each in spec.hypervisors), return_exceptions=True)
    found: dict[str, Room | ProviderError] = {}
    for each, outcome in zip(spec.hypervisors, outcomes, strict=True):
        if not isinstance(outcome, Room | ProviderError):
            raise outcome
        found[each.uri] = outcome
    return found


async def available_types(fleet: Fleet, spec: LibvirtNodeClassSpec) -> Sequence[InstanceType]:
    """All types; an offering is available if a hypervisor of its zone has room for it."""
    left = await looks(fleet, spec)
    return catalogue.instance_types(spec, lambda shape, zone: bool(_fitting(spec, left, shape, zone)))


async def choose(
    fleet: Fleet, spec: LibvirtNodeClassSpec, candidates: Sequence[tuple[InstanceType, Offering]]
) -> tuple[Shape, Offering, str]:
    """The first candidate that there is room for, and the hypervisor that has most of it.

    :raises InsufficientCapacityError: none
    """
    shapes = {shape.name: shape for shape in catalogue.shapes(spec)}
    left = await looks(fleet, spec)
    for instance_type, offering in candidates:
        shape = shapes.get(instance_type.name)
        if shape is not None and offering.available and offering.price is not None:
            fitting = _fitting(spec, left, shape, offering.zone)
            if fitting:
                return shape, offering, max((room.memory, uri) for uri, room in fitting.items())[1]
    names = ", ".join(sorted({each.name for each, _ in candidates})) or "no candidates"
    answering = sum(isinstance(each, Room) for each in left.values())
    raise InsufficientCapacityError(
        f"no hypervisor has room for any of {names}; {answering} of {len(left)} hypervisors can be used now"
    )


def _fitting(
    spec: LibvirtNodeClassSpec, left: dict[str, Room | ProviderError], shape: Shape, zone: str
) -> dict[str, Room]:
    rooms_of_zone = {each.uri: left[each.uri] for each in spec.hypervisors if each.zone == zone}
    return {uri: room for uri, room in rooms_of_zone.items() if isinstance(room, Room) and room.fits(shape)}
