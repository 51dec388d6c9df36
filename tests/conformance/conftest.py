"""What the rigs of several providers need: one API server for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controlplane import RunningControlPlane, control_plane


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    with control_plane(tmp_path_factory.mktemp("conformance")) as running:
        yield running
