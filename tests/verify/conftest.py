"""A real API server, and nothing else that is real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane import control_plane


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of the administrator."""
    with control_plane(tmp_path_factory.mktemp("verify")) as running:
        yield running.kubeconfig
