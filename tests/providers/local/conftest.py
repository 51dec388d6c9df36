from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local_machines import Cluster, cluster, image_archives


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return image_archives(tmp_path_factory.mktemp("images"))


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster that has no machines yet, and no images for them."""
    _need_root()
    async with cluster(tmp_path) as made:
        yield made
    assert made.leftovers() == []


@pytest.fixture
async def stocked(tmp_path: Path, images: tuple[Path, ...]) -> AsyncIterator[Cluster]:
    """A cluster that has no machines yet, but images for them."""
    _need_root()
    async with cluster(tmp_path, images=images) as made:
        yield made
    assert made.leftovers() == []


def _need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("nodes in namespaces need root")
