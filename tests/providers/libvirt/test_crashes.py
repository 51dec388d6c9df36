"""The controller killed between any two steps: nothing is made twice, and nothing is left."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from libvirt_machines import Setting
from providers.libvirt import machines
from providers.libvirt.images import Copies
from providers.libvirt.records import Records

CREATING = (
    (Records, "write"),
    (Copies, "_copy"),
    (machines, "define"),
    (machines, "find"),
    (machines, "add_disk"),
    (machines, "add_seed"),
    (machines, "start"),
    (machines, "mark_booted"),
)
DELETING = (
    (Records, "write"),
    (machines, "stop"),
    (machines, "remove_volumes"),
    (machines, "undefine"),
    (Records, "remove"),
)


class KilledError(BaseException):
    """Nothing that is caught."""


def die(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: str) -> None:
    original = getattr(owner, name)

    def dying(*arguments: Any, **named: Any) -> Any:
        if when == "after":
            original(*arguments, **named)
        raise KilledError

    monkeypatch.setattr(owner, name, dying)


def steps(places: tuple[tuple[Any, str], ...]) -> list[Any]:
    return [
        pytest.param(owner, name, when, id=f"{when} {name}") for owner, name in places for when in ("before", "after")
    ]


def everything(made: Setting) -> list[str]:
    hypervisors = made.hypervisors
    return [
        *(domain.name() for uri in hypervisors.gates for domain in hypervisors.domains(uri)),
        *(name for uri in hypervisors.gates for name in hypervisors.machine_volumes(uri)),
        *(str(path) for path in made.context.state_dir.rglob("*.json")),
    ]


async def killed(made: Setting, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: str, call: Any) -> None:
    with monkeypatch.context() as patched:
        die(patched, owner, name, when)
        with pytest.raises(KilledError):
            await call
    await made.start()


@pytest.mark.parametrize(("owner", "name", "when"), steps(CREATING))
async def test_a_creation_that_was_killed_is_completed_by_the_next_and_makes_one_machine(
    libvirt_setting: Setting, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: str
) -> None:
    made = libvirt_setting
    request = await made.request(uid=str(uuid.uuid4()))
    await killed(made, monkeypatch, owner, name, when, made.provider.create(request))
    machine = await made.provider.create(request)
    assert machine.state == "running"
    assert [each.claim_uid for each in await made.provider.list()] == [request.claim_uid]
    assert sum(len(made.hypervisors.domains(uri)) for uri in made.hypervisors.gates) == 1
    await made.delete(machine.provider_id)
    assert everything(made) == []


@pytest.mark.parametrize(("owner", "name", "when"), steps(CREATING))
async def test_a_creation_that_was_killed_and_is_not_repeated_leaves_nothing(
    libvirt_setting: Setting, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: str
) -> None:
    made = libvirt_setting
    request = await made.request()
    await killed(made, monkeypatch, owner, name, when, made.provider.create(request))
    for machine in await made.provider.list():  # as garbage collection does
        await made.delete(machine.provider_id)
    assert await made.provider.list() == []
    assert everything(made) == []


@pytest.mark.parametrize(("owner", "name", "when"), steps(DELETING))
async def test_a_deletion_that_was_killed_is_completed_by_the_next(
    libvirt_setting: Setting, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: str
) -> None:
    made = libvirt_setting
    machine = await made.provider.create(await made.request())
    await killed(made, monkeypatch, owner, name, when, made.provider.delete(machine.provider_id))
    await made.delete(machine.provider_id)
    assert await made.provider.list() == []
    assert everything(made) == []


async def test_machines_are_found_again_when_the_state_directory_is_lost(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    request = await made.request()
    machine = await made.provider.create(request)
    made.provider._fleet.records.remove(request.claim_uid)
    await made.start()
    assert await made.provider.list() == [machine]
    assert await made.provider.create(request) == machine
    await made.delete(machine.provider_id)
    assert everything(made) == []


async def test_a_machine_that_somebody_removed_by_hand_is_gone_and_its_disk_too(libvirt_setting: Setting) -> None:
    made = libvirt_setting
    await made.provider.create(await made.request())
    (domain,) = [each for uri in made.hypervisors.gates for each in made.hypervisors.domains(uri)]
    domain.destroy()
    domain.undefine()
    assert await made.provider.list() == []
    assert everything(made) == []
