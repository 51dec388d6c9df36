from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libvirt_machines import Setting, setting


@pytest.fixture
async def libvirt_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setting]:
    """Two hypervisors in two zones, ``a`` and ``b``."""
    async with setting(tmp_path, monkeypatch, zones=("a", "b")) as made:
        yield made
