"""What the rigs of several providers need: one API server with this project's kinds, and a hall of emulated hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from autonodes.api.crds import crds
from controlplane import RunningControlPlane, control_plane
from redfish import Emulator, emulator

HOSTS = 6


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    with control_plane(tmp_path_factory.mktemp("conformance")) as running:
        kinds = {"apiVersion": "v1", "kind": "List", "items": crds()}
        running.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(kinds))
        running.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        yield running


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("metal"), HOSTS) as running:
        yield running
