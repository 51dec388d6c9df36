"""What the rigs of several providers need: an API server with this project's kinds, emulated hosts, one moto."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane import RunningControlPlane, control_plane
from ec2market import built_in_market
from ec2moto import Moto, moto_server
from libvirt_daemon import Daemon, daemon
from redfish import Emulator, emulator

HOSTS = 6


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    with control_plane(tmp_path_factory.mktemp("conformance")) as running:
        running.install_kinds()
        yield running


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("metal"), HOSTS) as running:
        yield running


@pytest.fixture(scope="session")
def hypervisor() -> Iterator[Daemon]:
    """That really starts machines; the copies of images are kept between tests."""
    with daemon() as running:
        yield running


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    with moto_server() as running:
        yield running


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What EC2 sells, as the provider keeps it."""
    return built_in_market(tmp_path_factory.mktemp("market") / "market.json")
