"""What hosts are served: seeds as volumes and as files, and how they boot from the network."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from nocloud_seeds import read
from providers.metal.bmc import Media
from providers.metal.media import MediaServer
from providers.metal.seeds import Seed, wiping

MAC = "52:54:00:12:34:56"
IMAGE = "http://images/node.ipxe"
SEED = Seed("#!/bin/sh\necho secret\n", "instance-id: uid\nlocal-hostname: node-1\n")


@pytest.fixture
async def server() -> AsyncIterator[MediaServer]:
    made = MediaServer("127.0.0.1", 0)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def text(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url, raise_for_status=True) as answer:
        return await answer.text()


async def status(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as answer:
        return answer.status


def offered(server: MediaServer, mac: str = "") -> Media:
    return server.offer("host-1", IMAGE, lambda _: SEED, mac=mac)


async def test_a_virtual_drive_is_a_nocloud_volume(server: MediaServer, session: aiohttp.ClientSession) -> None:
    async with session.get(offered(server).seed_url) as answer:
        volume = await answer.read()
    assert read(volume) == {"user-data": SEED.user_data.encode(), "meta-data": SEED.meta_data.encode()}


async def test_a_volume_is_read_in_pieces_and_more_than_once(
    server: MediaServer, session: aiohttp.ClientSession
) -> None:
    url = offered(server).seed_url
    async with session.head(url) as answer:
        size = int(answer.headers["Content-Length"])
    pieces = []
    for start in range(0, size, 100_000):
        async with session.get(url, headers={"Range": f"bytes={start}-{start + 99_999}"}) as answer:
            assert answer.status == 206
            assert answer.headers["Content-Range"] == f"bytes {start}-{min(start + 100_000, size) - 1}/{size}"
            pieces.append(await answer.read())
    async with session.get(url) as answer:
        assert b"".join(pieces) == await answer.read()


async def test_what_boots_from_the_network_is_sent_to_the_script_of_its_address(
    server: MediaServer, session: aiohttp.ClientSession
) -> None:
    offered(server, MAC)
    assert "boot/${netX/mac:hexhyp}.ipxe" in await text(session, f"{server.url}/boot.ipxe")
    script = await text(session, f"{server.url}/boot/{MAC.upper().replace(':', '-')}.ipxe")
    assert f"chain {IMAGE} " in script
    assert f"set seed-url {server.url}/seed/" in script


async def test_a_host_without_an_attempt_boots_its_disk(server: MediaServer, session: aiohttp.ClientSession) -> None:
    offered(server, MAC)
    assert await text(session, f"{server.url}/boot/52:54:00:00:00:01.ipxe") == "#!ipxe\nexit\n"
    server.withdraw("host-1")
    assert await text(session, f"{server.url}/boot/{MAC}.ipxe") == "#!ipxe\nexit\n"


async def test_a_seed_is_given_once_to_what_boots_from_the_network(
    server: MediaServer, session: aiohttp.ClientSession
) -> None:
    offered(server, MAC)
    script = await text(session, f"{server.url}/boot/{MAC}.ipxe")
    url = script.split("set seed-url ")[1].split()[0]
    assert await text(session, f"{url}meta-data") == SEED.meta_data
    assert await text(session, f"{url}user-data") == SEED.user_data
    assert await status(session, f"{url}user-data") == 404
    assert await text(session, f"{server.url}/boot/{MAC}.ipxe") == "#!ipxe\nexit\n"


async def test_an_attempt_that_is_over_gives_nothing_and_takes_no_proof(
    server: MediaServer, session: aiohttp.ClientSession
) -> None:
    urls = []

    def seed(report_to: str) -> Seed:
        urls.append(report_to)
        return wiping("full", report_to)

    first = server.offer("host-1", IMAGE, seed)
    server.offer("host-1", IMAGE, seed)
    assert await status(session, first.seed_url) == 404
    async with session.post(urls[0], json={"level": "full"}) as answer:
        assert answer.status == 404
    assert server.proof("host-1") is None
    async with session.post(urls[1], json={"level": "full"}) as answer:
        assert answer.status == 200
    assert (server.proof("host-1") or {})["level"] == "full"


async def test_a_secret_is_in_no_text(server: MediaServer) -> None:
    media = offered(server)
    assert media.seed_url not in repr(media)
    assert "secret" not in repr(media) + repr(SEED)
