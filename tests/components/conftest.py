"""A mirror of the publishers' releases, a cache, and a recorded progress."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autonodes.components.pins import Pin, pins
from component_releases import Mirror, RecordedProgress


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AUTONODES_COMPONENTS", "AUTONODES_MIRROR", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AUTONODES_CACHE", str(tmp_path / "unused-cache"))


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror().serving() as mirror:
        yield mirror


@pytest.fixture
def progress() -> RecordedProgress:
    return RecordedProgress()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def no_checkout(tmp_path: Path) -> Path:
    """A source tree without Go modules."""
    return tmp_path / "installed"


@pytest.fixture
def kine() -> Pin:
    return pins()["kine"]
