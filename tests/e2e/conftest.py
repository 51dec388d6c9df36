"""One standalone cluster for all end-to-end tests, made and removed by the command that users run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster import Cluster, kubectl_path


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Up with the default pool on the local provider; down at the end, whatever happened."""
    running = Cluster(name="e2e", home=tmp_path_factory.mktemp("home"), kubectl_path=kubectl_path())
    try:
        up = running.autonodes("up", "--name", running.name)
        assert up.returncode == 0, up.stdout + up.stderr
        yield running
    finally:
        running.autonodes("down", "--name", running.name)
