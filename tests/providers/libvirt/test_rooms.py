"""What a hypervisor has left, and what machines are sold for."""

from __future__ import annotations

import dataclasses

import pytest

from autonodes.provider import InsufficientCapacityError, NodeClassNotReadyError
from libvirt_machines import Setting

SMALL = {"name": "small", "cpu": 1, "memory": "1Gi", "price": 0.1}
WIDE = {"name": "wide", "cpu": 6, "memory": "1Gi", "price": 0.3}
SOMEBODY_S = "<domain type='test'><name>other</name><memory unit='GiB'>3</memory><os><type>hvm</type></os></domain>"


def hypervisors(made: Setting, **limits: str) -> list[dict[str, str]]:
    return [{**each, **limits} for each in made.node_class["spec"]["hypervisors"]]


async def available(made: Setting) -> dict[tuple[str, str], float | None]:
    """Type and zone → price."""
    types = await made.provider.instance_types(made.node_class)
    return {(each.name, o.zone): o.price for each in types for o in each.offerings if o.available}


async def test_cores_are_counted_for_each_hypervisor_by_itself(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    made.use(hypervisors=hypervisors(made, cpu="8"), instanceTypes=[WIDE, SMALL])
    first = await made.provider.create(await made.request(size="wide"))
    other = "b" if first.zone == "a" else "a"
    assert await available(made) == {("small", "a"): 0.1, ("small", "b"): 0.1, ("wide", other): 0.3}
    second = await made.provider.create(await made.request(size="wide"))
    assert second.zone == other
    assert await available(made) == {("small", "a"): 0.1, ("small", "b"): 0.1}


async def test_machines_that_are_nobody_s_of_ours_take_room_too(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    made.use(hypervisors=hypervisors(made, memory="4Gi"), instanceTypes=[SMALL])
    uri = made.node_class["spec"]["hypervisors"][0]["uri"]
    domain = made.hypervisors.open(uri).defineXML(SOMEBODY_S)
    assert set(await available(made)) == {("small", "b")}
    domain.undefine()
    assert set(await available(made)) == {("small", "a"), ("small", "b")}


async def test_the_cheapest_type_that_fits_is_had_at_the_price_that_was_set(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    made.use(instanceTypes=[{**SMALL, "name": "free", "price": 0}, SMALL])
    assert (await available(made))["free", "a"] == 0
    assert (await made.provider.create(await made.request())).instance_type == "free"


@pytest.mark.parametrize("wrong", ["lots", "-1Gi"])
async def test_a_limit_that_is_no_quantity_is_named_and_nothing_is_bought(libvirt_setting: Setting, wrong: str) -> None:
    made = libvirt_setting
    made.use(hypervisors=hypervisors(made, memory=wrong))
    with pytest.raises(NodeClassNotReadyError, match=f"memory.*{wrong}"):
        await made.provider.validate(made.node_class)


async def test_a_type_with_a_device_that_no_hypervisor_has_cannot_be_had(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    device = {"vendor": "0x10de", "product": "0xffff"}
    made.use(instanceTypes=[SMALL, {**SMALL, "name": "exotic", "devices": [device]}])
    assert {name for name, _ in await available(made)} == {"small"}
    types = await made.provider.instance_types(made.node_class)
    exotic = next(each for each in types if each.name == "exotic")
    request = dataclasses.replace(await made.request(), candidates=((exotic, exotic.offerings[0]),))
    with pytest.raises(InsufficientCapacityError):
        await made.provider.create(request)
    assert await made.provider.list() == []
