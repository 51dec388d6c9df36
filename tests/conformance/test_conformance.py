"""Every provider of this project, under the kit: ``pytest tests/conformance -k kwok`` for one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from autonodes.conformance import ProviderConformance, Rig
from conformance.aws_rig import aws_rig
from conformance.kwok_rig import kwok_rig
from conformance.libvirt_rig import libvirt_rig
from conformance.local_rig import local_rig
from conformance.metal_rig import metal_rig
from conformance.qemu_rig import qemu_rig

RIGS = {
    "aws": aws_rig,
    "kwok": kwok_rig,
    "libvirt": libvirt_rig,
    "local": local_rig,
    "metal": metal_rig,
    "qemu": qemu_rig,
}
"""``libvirt`` is its test driver, ``qemu`` the same provider with machines that boot."""


class TestProviders(ProviderConformance):
    @pytest_asyncio.fixture(
        params=[
            pytest.param("aws", marks=pytest.mark.integration),
            pytest.param("kwok", marks=pytest.mark.integration),
            pytest.param("metal", marks=pytest.mark.integration),
            "libvirt",
            pytest.param("local", marks=pytest.mark.e2e),
            pytest.param("qemu", marks=pytest.mark.e2e),
        ]
    )
    async def rig(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
        async with RIGS[request.param](request, tmp_path) as rig:
            yield rig
