"""Rooms, devices, crashes and drift, on libvirt's test driver."""

from __future__ import annotations

import asyncio
from pathlib import Path

import libvirt
import pytest

from autonodes.provider import CreateError, InsufficientCapacityError, ProviderError
from libvirt_machines import Setting
from providers.libvirt import domains, machines

GPU = {"vendor": "0x10de", "product": "0x20b0", "count": 2, "resource": "nvidia.com/gpu"}
GPU_TYPE = {"name": "gpu", "cpu": 2, "memory": "1Gi", "price": 1.0, "devices": [GPU]}
SMALL = {"name": "small", "cpu": 1, "memory": "1Gi", "price": 0.1}


async def test_memory_is_promised_once_however_many_launches_there_are_at_once(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    listed = [{**each, "memory": "3Gi"} for each in made.node_class["spec"]["hypervisors"]]
    made.use(hypervisors=listed, instanceTypes=[SMALL])
    requests = [await made.request() for _ in range(8)]
    results = await asyncio.gather(*(made.provider.create(each) for each in requests), return_exceptions=True)
    bought = [each for each in results if not isinstance(each, BaseException)]
    assert sum(isinstance(each, InsufficientCapacityError) for each in results) == 4
    assert sorted(each.zone for each in bought) == ["a", "a", "b", "b"], "1 GiB for pods is 1.5 GiB of machine"
    assert len({each.addresses for each in bought}) == 4
    types = await made.provider.instance_types(made.node_class)
    assert not any(offering.available for each in types for offering in each.offerings)


async def test_a_machine_gets_the_free_devices_of_its_type_and_no_other_machine_has_them(
    libvirt_setting: Setting,
) -> None:
    made = libvirt_setting
    uri = made.hypervisors.add("g", gpus=3)
    made.use(hypervisors=[{"uri": uri, "zone": "g"}], instanceTypes=[GPU_TYPE])
    machine = await made.provider.create(await made.request())
    assert machine.capacity["nvidia.com/gpu"] == 2
    (domain,) = made.hypervisors.domains(uri)
    assert domains.pci_addresses(domain.XMLDesc()) == {"0000:65:00.0", "0000:65:01.0"}
    types = await made.provider.instance_types(made.node_class)
    assert not types[0].offerings[0].available, "one is left, and two are needed"
    await made.delete(machine.provider_id)
    types = await made.provider.instance_types(made.node_class)
    assert types[0].offerings[0].available


async def test_a_machine_that_stops_by_itself_is_an_interruption_until_it_is_deleted(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    machine = await made.provider.create(await made.request())
    assert await made.provider.interruptions() == []
    (domain,) = [each for uri in made.hypervisors.gates for each in made.hypervisors.domains(uri)]
    domain.destroy()
    for _ in range(2):
        (notice,) = await made.provider.interruptions()
        assert (notice.provider_id, notice.kind) == (machine.provider_id, "host-failure")
        assert "has stopped: it was switched off" in notice.message
    assert [each.state for each in await made.provider.list()] == ["stopped"]
    await made.delete(machine.provider_id)
    assert await made.provider.interruptions() == []


async def test_a_crash_is_in_the_log_when_it_happens_and_an_interruption_that_says_so(
    libvirt_setting: Setting, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = libvirt_setting
    machine = await made.provider.create(await made.request())
    (domain,) = [each for uri in made.hypervisors.gates for each in made.hypervisors.domains(uri)]
    domain.coreDump(str(tmp_path / "core"), libvirt.VIR_DUMP_CRASH)
    said = f"domain {machine.claim_uid} crashed"
    for _ in range(2000):  # libvirt tells it in a thread of its own
        if said in caplog.text:
            break
        await asyncio.sleep(0.01)
    assert said in caplog.text
    (notice,) = await made.provider.interruptions()
    assert (notice.provider_id, notice.kind) == (machine.provider_id, "host-failure")
    assert "has stopped: it crashed" in notice.message


async def test_a_machine_with_firmware_and_a_tpm_is_removed_with_both(
    libvirt_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = libvirt_setting
    made.use(firmware="uefi", vtpm=True)
    machine = await made.provider.create(await made.request())
    (domain,) = [each for uri in made.hypervisors.gates for each in made.hypervisors.domains(uri)]
    described = domain.XMLDesc()
    assert "firmware='efi'" in described
    assert "<tpm model='tpm-crb'>" in described
    flags: list[int] = []

    def undefine(domain: libvirt.virDomain, given: int) -> None:
        """The test driver keeps neither variables nor TPM states, and refuses to remove what it never has."""
        flags.append(given)
        domain.undefine()

    monkeypatch.setattr(libvirt.virDomain, "undefineFlags", undefine)
    await made.delete(machine.provider_id)
    both = libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_TPM
    assert [given & both for given in flags] == [both]
    assert await made.provider.list() == []


async def test_a_machine_that_does_not_end_stays_in_the_list_until_it_does(
    libvirt_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = libvirt_setting
    machine = await made.provider.create(await made.request())

    def busy(_domain: libvirt.virDomain) -> None:
        raise libvirt.libvirtError("Failed to terminate process: Device or resource busy")

    with monkeypatch.context() as patched:
        patched.setattr(libvirt.virDomain, "destroy", busy)
        with pytest.raises(ProviderError, match="trying again later"):
            await made.provider.delete(machine.provider_id)
    assert [each.state for each in await made.provider.list()] == ["terminating"]
    await made.delete(machine.provider_id)
    assert await made.provider.list() == []


async def test_a_launch_that_the_hypervisor_refuses_leaves_nothing(
    libvirt_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = libvirt_setting
    monkeypatch.setattr(domains, "volume", lambda *_, **__: "<volume/>")
    with pytest.raises(CreateError) as raised:
        await made.provider.create(await made.request())
    assert raised.value.reason == "ConfigurationInvalid"
    assert await made.provider.list() == []
    assert all(made.hypervisors.domains(uri) == [] for uri in made.hypervisors.gates)
    assert list(made.context.state_dir.rglob("*.json")) == []


async def test_purging_removes_the_copies_of_images_that_no_other_cluster_needs(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    await made.provider.create(await made.request())
    assert any(made.hypervisors.volumes(uri) for uri in made.hypervisors.gates)
    await made.provider.purge()
    assert all(made.hypervisors.volumes(uri) == [] for uri in made.hypervisors.gates)
    assert not (made.context.state_dir / "libvirt").exists()


async def test_copies_that_another_cluster_s_machine_needs_stay(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    import dataclasses

    other = dataclasses.replace(made.context, cluster="other", state_dir=made.context.state_dir.with_name("other"))
    await made.start(other)
    machine = await made.provider.create(await made.request())
    uri = next(uri for uri in made.hypervisors.gates if made.hypervisors.domains(uri))
    before = made.hypervisors.volumes(uri)
    await made.providers[0].purge()
    assert made.hypervisors.volumes(uri) == before
    await made.delete(machine.provider_id)


async def test_an_upload_that_was_cut_off_is_done_again(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    machine = await made.provider.create(await made.request())
    uri = next(uri for uri in made.hypervisors.gates if made.hypervisors.domains(uri))
    await made.delete(machine.provider_id)
    pool = made.hypervisors.gates[uri]._connection.storagePoolLookupByName("default")
    marks = [each for each in pool.listAllVolumes() if each.name().endswith(".complete")]
    assert marks
    for mark in marks:
        mark.delete()
    made.hypervisors.uploads.clear()
    listed = [each for each in made.node_class["spec"]["hypervisors"] if each["uri"] == uri]
    made.use(hypervisors=listed)
    machine = await made.provider.create(await made.request())
    again = [path for path in made.hypervisors.uploads if "autonodes-base-" in path]
    assert len(again) == len(marks)
    await made.delete(machine.provider_id)


async def test_a_machine_that_was_stopped_before_it_was_ever_marked_is_started_again(
    libvirt_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = libvirt_setting
    request = await made.request()
    with monkeypatch.context() as patched:
        patched.setattr(machines, "start", lambda *_: None)
        patched.setattr(machines, "mark_booted", lambda *_: None)
        assert (await made.provider.create(request)).state == "pending"
    assert await made.provider.interruptions() == []
    assert (await made.provider.create(request)).state == "running"


async def test_drift_is_told_by_what_changed(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    made.use(instanceTypes=[SMALL])
    machine = await made.provider.create(await made.request())
    assert await made.provider.is_drifted(machine, made.node_class) is None
    spec = made.node_class["spec"]
    larger = {"spec": {**spec, "instanceTypes": [{**SMALL, "memory": "2Gi"}]}}
    assert await made.provider.is_drifted(machine, larger) == "InstanceTypeChanged"
    dearer = {"spec": {**spec, "instanceTypes": [{**SMALL, "price": 2.0}]}}
    assert await made.provider.is_drifted(machine, dearer) is None
    image = made.context.machine_image
    assert image is not None
    (image / "disk.qcow2").write_bytes(b"QFI\xfbanother")
    assert await made.provider.is_drifted(machine, made.node_class) == "ImageDrift"
