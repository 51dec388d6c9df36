"""A server and its surroundings, made anew for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from konnectivity import Site, Tunnel


@pytest.fixture
def site() -> Iterator[Site]:
    with Site.make() as made:
        yield made


@pytest.fixture
async def tunnel(site: Site) -> AsyncIterator[Tunnel]:
    async with Tunnel.open(site) as opened:
        yield opened
