"""KVM where a machine comes up with it, emulation where not, and what a hypervisor that has not what is wanted says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest

from autonodes.provider import NodeClassNotReadyError
from libvirt_daemon import Daemon, daemon
from machine_images import node_image
from providers.libvirt import acceleration
from providers.libvirt.connections import Connection, _run_event_loop
from providers.libvirt.domains import Boot

KERNEL = Boot(kernel="/pool/kernel", initrd="/pool/initrd")
FIRMWARE = Boot()


@dataclass
class Offering:
    """A hypervisor that says what kinds of domain it has."""

    kinds: tuple[str, ...]

    def getCapabilities(self) -> str:
        return f"<capabilities><guest><arch>{self.domains}</arch></guest></capabilities>"

    @property
    def domains(self) -> str:
        return "".join(f"<domain type='{kind}'/>" for kind in self.kinds)

    def getType(self) -> str:
        return "Test"


def chosen(monkeypatch: pytest.MonkeyPatch, *kinds: str, boots: bool = True, wanted: str = "auto", **more: Any) -> str:
    monkeypatch.setattr(acceleration, "_boots", lambda *_: boots)
    connection = cast(Connection, Offering(kinds))
    return acceleration.domain_type(connection, "qemu:///system", wanted, more.get("boot", KERNEL))


def test_kvm_is_taken_where_the_image_boots_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, "qemu", "kvm") == "kvm"


def test_emulation_is_taken_where_kvm_is_offered_and_the_image_does_not_boot_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert chosen(monkeypatch, "qemu", "kvm", boots=False) == "qemu"


def test_emulation_is_taken_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, "qemu", boots=False) == "qemu"


def test_an_image_that_boots_by_itself_is_booted_as_the_hypervisor_offers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, "qemu", "kvm", boots=False, boot=FIRMWARE) == "kvm"


def test_what_is_wanted_is_taken_without_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, "qemu", "kvm", boots=False, wanted="kvm") == "kvm"
    assert chosen(monkeypatch, "qemu", "kvm", wanted="tcg") == "qemu"


def test_a_hypervisor_without_what_is_wanted_says_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NodeClassNotReadyError, match=r"spec\.acceleration: kvm is wanted, .* has qemu"):
        chosen(monkeypatch, "qemu", wanted="kvm")


@pytest.fixture(scope="module")
def hypervisor() -> Iterator[Daemon]:
    with daemon() as running:
        _run_event_loop()
        yield running


@pytest.mark.e2e
def test_a_real_trial_tells_a_kernel_that_comes_up_from_one_that_does_not(
    hypervisor: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = node_image()
    for name in ("vmlinuz", "initrd"):  # where the hypervisor's user can read them
        (hypervisor.directory / name).write_bytes((image / name).read_bytes())
    kernel = str(hypervisor.directory / "vmlinuz")
    whole = Boot(kernel=kernel, initrd=str(hypervisor.directory / "initrd"), command_line="quiet")
    monkeypatch.setattr(acceleration, "PROBE_WITHIN", 120.0)  # emulated, on a busy machine
    assert acceleration._boots(hypervisor.uri, "qemu", whole)
    monkeypatch.setattr(acceleration, "PROBE_WITHIN", 4.0)
    hangs = Boot(kernel=kernel, command_line="quiet")  # it finds no root, and starts again for ever
    assert not acceleration._boots(hypervisor.uri, "qemu", hangs)
    assert not acceleration._boots(hypervisor.uri, "kvm", Boot(kernel="/nonexistent"))
    assert hypervisor.machines() == []
    with hypervisor.connection() as connection:
        assert connection.listAllDomains() == []
