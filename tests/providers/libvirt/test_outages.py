"""Hypervisors that do not answer, and what a node class can have wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import libvirt
import pytest

from autonodes.provider import InsufficientCapacityError, MachineNotFoundError, NodeClassNotReadyError
from libvirt_machines import Setting
from providers.libvirt.errors import HypervisorGoneError


def uri_of(made: Setting, zone: str) -> str:
    return next(uri for uri in made.hypervisors.gates if uri.endswith(f"/{zone}.xml"))


async def test_one_that_is_gone_keeps_no_other_from_anything(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    first = await made.provider.create(await made.request())
    gone, alive = uri_of(made, first.zone), uri_of(made, "b" if first.zone == "a" else "a")
    with made.hypervisors.gone(gone):
        await made.provider.validate(made.node_class)
        types = await made.provider.instance_types(made.node_class)
        assert {o.zone for each in types for o in each.offerings if o.available} == {Path(alive).stem}
        assert {o.zone for each in types for o in each.offerings} == {"a", "b"}, "dropping one would mean drift"
        second = await made.provider.create(await made.request())
        assert second.zone != first.zone
        assert {each.claim_uid for each in await made.provider.list()} == {first.claim_uid, second.claim_uid}
        await made.delete(second.provider_id)
        with pytest.raises(MachineNotFoundError):
            await made.provider.get(second.provider_id)


async def test_nothing_is_concluded_about_machines_on_one_that_is_gone(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    request = await made.request()
    machine = await made.provider.create(request)
    await made.start()  # a new process that has never reached it
    with made.hypervisors.gone(uri_of(made, machine.zone)):
        (listed,) = await made.provider.list()
        assert (listed.provider_id, listed.state) == (machine.provider_id, "running")
        with pytest.raises(HypervisorGoneError):  # and not a second one on the other
            await made.provider.create(request)
        for call in (made.provider.get, made.provider.delete):
            with pytest.raises(HypervisorGoneError):
                await call(machine.provider_id)
        assert await made.provider.interruptions() == []
    assert [each.state for each in await made.provider.list()] == ["terminating"]
    await made.delete(machine.provider_id)
    assert await made.provider.list() == []


async def test_when_all_are_gone_the_node_class_says_which_and_why(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    with made.hypervisors.gone(uri_of(made, "a")), made.hypervisors.gone(uri_of(made, "b")):
        with pytest.raises(NodeClassNotReadyError, match=r"a\.xml can't be reached.*b\.xml can't be reached"):
            await made.provider.validate(made.node_class)
        request = await made.provider.instance_types(made.node_class)
        assert not any(offering.available for each in request for offering in each.offerings)
    await made.provider.validate(made.node_class)


async def test_credentials_that_are_refused_are_told_and_the_other_hypervisor_is_used(
    libvirt_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = libvirt_setting
    refused, opened = uri_of(made, "a"), libvirt.open

    def authenticating(uri: str) -> object:
        if uri == refused:
            raise libvirt.libvirtError("authentication failed: Failed to verify client's certificate")
        return opened(uri)

    monkeypatch.setattr(libvirt, "open", authenticating)
    assert (await made.provider.create(await made.request())).zone == "b"
    made.use(hypervisors=made.node_class["spec"]["hypervisors"][:1])
    with pytest.raises(NodeClassNotReadyError, match=r"a\.xml can't be reached: authentication failed"):
        await made.provider.validate(made.node_class)


async def test_a_hypervisor_without_the_network_is_left_out_and_named(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    made.use(network="nowhere")
    with pytest.raises(NodeClassNotReadyError, match=r"no network 'nowhere'; there are: lan"):
        await made.provider.validate(made.node_class)
    request = await made.request()
    assert request.candidates == ()
    with pytest.raises(InsufficientCapacityError):
        await made.provider.create(request)
    made.use(network="lan")
    machine = await made.provider.create(await made.request())
    assert machine.addresses == ("192.0.2.2",), "the network's DHCP server gave it that"
    await made.delete(machine.provider_id)


async def test_an_image_that_is_not_what_its_checksum_says_is_refused_and_boots_nothing(
    libvirt_setting: Setting,
) -> None:
    made = libvirt_setting
    image = made.context.machine_image
    assert image is not None
    request = await made.request()
    wrong = made.use(image={"disk": str(image / "disk.qcow2"), "checksum": "sha256:" + "0" * 64})
    with pytest.raises(NodeClassNotReadyError, match=r"spec\.image\.checksum: .* is expected, but .* is sha256:"):
        await made.provider.validate(wrong)
    import dataclasses

    with pytest.raises(NodeClassNotReadyError):
        await made.provider.create(dataclasses.replace(request, node_class=wrong))
    assert await made.provider.list() == []
    assert all(made.hypervisors.domains(uri) == [] for uri in made.hypervisors.gates)


async def test_a_call_to_one_that_hangs_ends_and_the_others_go_on(
    libvirt_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from providers.libvirt import placing

    monkeypatch.setattr(placing, "_LOOK_WITHIN", 0.2)
    made, hang = libvirt_setting, threading.Event()
    gate = made.hypervisors.gates[uri_of(made, "a")]
    monkeypatch.setattr(gate, "getInfo", lambda: hang.wait(30), raising=False)
    try:
        types = await asyncio.wait_for(made.provider.instance_types(made.node_class), 20)
        assert {o.zone for each in types for o in each.offerings if o.available} == {"b"}
    finally:
        hang.set()


async def test_a_machine_that_was_never_ordered_is_none_though_it_was_written_down(
    libvirt_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = libvirt_setting
    request = await made.request()

    async def cut(*_: object) -> None:
        raise HypervisorGoneError("test:///", "cut")

    with monkeypatch.context() as patched:
        patched.setattr(made.provider._launching, "_prepared", cut)
        with pytest.raises(HypervisorGoneError):
            await made.provider.create(request)
    with made.hypervisors.gone(uri_of(made, "a")), made.hypervisors.gone(uri_of(made, "b")):
        assert await made.provider.list() == []
    machine = await made.provider.create(request)
    assert [each.claim_uid for each in await made.provider.list()] == [request.claim_uid]
    await made.delete(machine.provider_id)
