"""IPMI against a simulator that speaks RMCP+."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipmi_simulator import PASSWORD, USERNAME, Simulator, free_udp_port, simulator
from providers.metal import ipmi
from providers.metal.bmc import BadCredentialsError, BMCError, BMCUnreachableError, Media
from providers.metal.ipmi import Ipmi

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def bmc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with simulator(tmp_path_factory.mktemp("ipmi")) as running:
        yield running


def test_power_is_told_and_switched(bmc: Simulator) -> None:
    driver = Ipmi(bmc.address, USERNAME, PASSWORD)
    driver.switch("ForceOff")
    assert driver.power() == "Off"
    driver.switch("On")
    assert driver.power() == "On"
    driver.switch("ForceRestart")
    driver.switch("GracefulShutdown")
    assert bmc.commands[-2:] == ["set reset 1", "set shutdown 1"]


def test_it_boots_from_the_network_once(bmc: Simulator) -> None:
    Ipmi(bmc.address, USERNAME, PASSWORD).boot_once_from("Pxe")
    assert bmc.commands[-1] == "set boot pxe"


def test_the_machine_is_known_by_its_guid(bmc: Simulator) -> None:
    facts = Ipmi(bmc.address, USERNAME, PASSWORD).facts()
    assert facts["uuid"] == "efcdab89-6745-23a1-efcd-ab89674523a1"
    assert facts["manufacturer"] == "MontaVista Software, Inc."


@pytest.mark.parametrize("login", [(USERNAME, "another"), ("nobody", PASSWORD)])
def test_a_wrong_login_is_told_from_silence(bmc: Simulator, login: tuple[str, str]) -> None:
    with pytest.raises(BadCredentialsError, match="mend the Secret") as raised:
        Ipmi(bmc.address, *login).power()
    assert login[1] not in str(raised.value)


def test_who_does_not_answer_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipmi, "_TRIES", ("-N", "1", "-R", "1"))
    with pytest.raises(BMCUnreachableError):
        Ipmi(f"ipmi://127.0.0.1:{free_udp_port()}", USERNAME, PASSWORD).power()


def test_there_are_no_virtual_media() -> None:
    media = Media(image="http://images/node.iso", seed_url="http://here/seed.iso", script="")
    with pytest.raises(BMCError, match="boot: pxe"):
        Ipmi("ipmi://127.0.0.1", USERNAME, PASSWORD).insert(media)


def test_the_password_is_in_no_argument_and_no_environment(
    bmc: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    spy = tmp_path / "ipmitool"
    spy.write_text(f'#!/bin/sh\n{{ echo "$@"; env; }} >{seen}\nexec {shutil.which("ipmitool")} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    Ipmi(bmc.address, USERNAME, PASSWORD).power()
    assert "-U root" in seen.read_text()
    assert PASSWORD not in seen.read_text()
