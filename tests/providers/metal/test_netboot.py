"""A machine that really boots from the network: QEMU's firmware, iPXE out of its network card, DHCP of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from controlplane import free_port
from providers.metal.media import MediaServer
from providers.metal.seeds import Seed

pytestmark = pytest.mark.integration

MAC = "52:54:00:12:34:56"
HOST = "10.0.2.2"
"""This machine, as one in QEMU's user network sees it."""
IMAGE = "#!ipxe\nimgfetch ${seed-url}meta-data\nimgfetch ${seed-url}user-data\nchain booted || poweroff\n"
SEED = Seed("#!/bin/sh\necho secret\n", "instance-id: uid\n")


@contextlib.asynccontextmanager
async def images(booted: asyncio.Event) -> AsyncIterator[str]:
    """A server of images; what is booted asks it for one thing more."""

    async def image(_: web.Request) -> web.Response:
        return web.Response(text=IMAGE)

    async def note(_: web.Request) -> web.Response:
        booted.set()
        return web.Response(text="#!ipxe\npoweroff\n")

    app = web.Application()
    app.add_routes([web.get("/node.ipxe", image), web.get("/booted", note)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://{HOST}:{runner.addresses[0][1]}/node.ipxe"
    await runner.cleanup()


@contextlib.asynccontextmanager
async def machine(first: str, console: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """:param first: the URL that DHCP hands out"""
    running = await asyncio.create_subprocess_exec(
        *("qemu-system-x86_64", "-machine", "pc,accel=tcg,graphics=off", "-m", "128", "-display", "none", "-no-reboot"),
        *("-netdev", f"user,id=net,restrict=off,bootfile={first}", "-device", f"virtio-net-pci,netdev=net,mac={MAC}"),
        *("-boot", "n", "-serial", f"file:{console}"),
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        await running.wait()


async def test_a_machine_boots_its_image_from_the_network_with_its_own_seed(tmp_path: Path) -> None:
    port, booted = free_port(), asyncio.Event()
    server = MediaServer("127.0.0.1", port, f"http://{HOST}:{port}")
    await server.start()
    async with images(booted) as image:
        server.offer("another", image, lambda _: SEED, mac="52:54:00:00:00:01")
        server.offer("host-1", image, lambda _: SEED, mac=MAC)
        async with machine(f"{server.url}/boot.ipxe", tmp_path / "console"), asyncio.timeout(240):
            await booted.wait()
    async with aiohttp.ClientSession() as session:
        for mac, left in ((MAC, False), ("52:54:00:00:00:01", True)):
            async with session.get(f"http://127.0.0.1:{port}/boot/{mac}.ipxe") as answer:
                assert ("seed-url" in await answer.text()) is left, "a seed is given to its own host, and once"
    await server.close()
