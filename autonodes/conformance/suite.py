"""All tests of the kit as one class, and what holds around each of them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from autonodes.conformance.buying import Buying
from autonodes.conformance.catalogues import Catalogues
from autonodes.conformance.deleting import Deleting
from autonodes.conformance.faults import Faults
from autonodes.conformance.life import Life
from autonodes.conformance.rig import SECRET, Rig, delete_completely


@pytest.mark.asyncio
class ProviderConformance(Catalogues, Buying, Deleting, Life, Faults):
    """Subclass it, name the subclass ``Test…``, and give it a fixture ``rig``."""

    @pytest_asyncio.fixture(autouse=True)
    async def _leaves_nothing_and_tells_no_secret(
        self, rig: Rig, caplog: pytest.LogCaptureFixture
    ) -> AsyncIterator[None]:
        """After each test: every machine is deleted, then the infrastructure is asked what it still has."""
        caplog.set_level(logging.DEBUG)
        yield
        told = [
            record.getMessage() for secret in (SECRET, *rig.secrets) for record in caplog.get_records("call")
            if secret in record.getMessage()
        ]  # fmt: skip
        assert told == [], "a secret was logged"
        assert _command_lines_with(SECRET) == [], "a secret is among the arguments of a process"
        for machine in await rig.provider.list():
            await delete_completely(rig.provider, machine.provider_id)
        assert list(await rig.leftovers()) == []

    async def test_a_purchase_shows_no_secret(self, rig: Rig) -> None:
        request = await rig.request()
        machine = await rig.provider.create(request)
        shown = f"{request!r} {machine!r} {await rig.tags(machine)!r}"
        assert SECRET not in shown
        assert all(secret not in shown for secret in rig.secrets)


def _command_lines_with(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text.encode() in path.read_bytes():
                found.append(str(path))
    return found
