"""The life of a host with IPMI, which boots from the network: its simulator powers a machine that asks as iPXE does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from autonodes.kube.errors import AlreadyExistsError
from autonodes.kube.resources import SECRETS
from ipmi_simulator import PASSWORD, USERNAME, Simulator, simulator
from metal_tenant import Tenant
from redfish import Machine

pytestmark = pytest.mark.integration

MAC = "52:54:00:12:34:56"


async def play(simulated: Simulator, tenant: Tenant, machine: Machine) -> None:
    """Whenever it is switched on or reset after it was told to boot from the network, it does."""
    seen = 0
    async with aiohttp.ClientSession() as session:
        while True:
            commands = simulated.commands
            for index in range(seen, len(commands)):
                started = commands[index] in ("set power 1", "set reset 1", "set cycle 1")
                if started and "set boot pxe" in commands[seen:index]:
                    machine.boots += 1
                    await boot(session, tenant, machine)
                    seen = index + 1
            await asyncio.sleep(0.1)


async def boot(session: aiohttp.ClientSession, tenant: Tenant, machine: Machine) -> None:
    media = tenant.provider.media_url
    async with session.get(f"{media}/boot/{MAC.replace(':', '-')}.ipxe") as answer:
        words = (await answer.text()).split()
    if "seed-url" not in words:
        return  # its disk
    assert words[words.index("chain") + 1] == tenant.hall.image
    seed = []
    for name in ("user-data", "meta-data"):
        async with session.get(words[words.index("seed-url") + 1] + name) as answer:
            seed.append(await answer.text())
    await tenant.hall.run(machine, *seed)


@pytest.fixture
async def simulated(tenant: Tenant, tmp_path: Path) -> AsyncIterator[tuple[Simulator, Machine]]:
    (directory := tmp_path / "ipmi").mkdir()
    with simulator(directory) as running:
        machine = Machine()
        playing = asyncio.create_task(play(running, tenant, machine))
        yield running, machine
        playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await playing


async def test_a_host_with_ipmi_is_wiped_used_and_wiped_from_the_network(
    tenant: Tenant, simulated: tuple[Simulator, Machine]
) -> None:
    bmc, machine = simulated
    data = {key: base64.b64encode(text.encode()).decode() for key, text in
            {"username": USERNAME, "password": PASSWORD}.items()}  # fmt: skip
    with contextlib.suppress(AlreadyExistsError):
        await tenant.kube.create(SECRETS, {"metadata": {"name": "ipmi"}, "data": data}, "kube-system")
    reached = {"address": bmc.address, "credentialsSecret": "ipmi"}
    host = await tenant.hall.enlist(0, name="old-server", bmc=reached, boot="pxe", bootMac=MAC)
    await tenant.until_in(host, "Available")
    bought = await tenant.buy()
    await tenant.until_in(host, "Provisioned")
    await tenant.give_back(bought)
    await tenant.until_in(host, "Available")
    assert [each.event for each in await tenant.chain(host)] == ["registered", "wiped", "tenant", "released", "wiped"]
    assert machine.boots == 3
    assert (await tenant.status(host))["facts"]["uuid"] == "efcdab89-6745-23a1-efcd-ab89674523a1"
