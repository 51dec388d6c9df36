"""Emulated hosts through a whole cycle: registered, wiped, given to a tenant, joined, given back, wiped, available."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autonodes.core.ledger import flaws
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import ApiUnreachableError
from autonodes.kube.ledger import Ledger
from autonodes.kube.resources import BAREMETALHOSTS, node_class
from autonodes.provider import Machine
from controlplane import RunningControlPlane, control_plane
from metal_tenant import Tenant
from redfish import Emulator, Hall, emulator

_PATIENCE = 3600.0
_CYCLE = ["registered", "wiped", "tenant", "released", "wiped"]


def rows(hosts: int, *, delay: int) -> Iterator[Mapping[str, Any]]:
    """:param delay: most seconds that a host takes to obey a power command"""
    with tempfile.TemporaryDirectory() as scratch, control_plane(Path(scratch)) as plane:
        plane.install_kinds()
        with emulator(Path(scratch), hosts, delay=delay) as emulated:
            yield asyncio.run(_cycle(plane, emulated, Path(scratch)))


async def _cycle(plane: RunningControlPlane, emulated: Emulator, directory: Path) -> Mapping[str, Any]:
    async with KubeClient.from_kubeconfig(plane.kubeconfig) as kube, Hall(kube, emulated).running() as hall:
        tenant = Tenant(kube, hall, directory)
        passing = asyncio.create_task(_pass_time(tenant))
        body = {"apiVersion": "autonodes.io/v1alpha1", "kind": "MetalNodeClass", **tenant.node_class}
        await kube.apply(node_class("MetalNodeClass"), body, field_manager="bench")
        for index in range(emulated.count):
            await hall.enlist(index)
        began, cpu = time.monotonic(), time.process_time()
        await tenant.start()
        most = [0]
        await _until(kube, emulated.count, "Available", most)
        registered = time.monotonic()
        types = await tenant.provider.instance_types(tenant.node_class)
        gate = asyncio.Semaphore(20)

        async def buy() -> Machine:
            async with gate:
                return await tenant.buy(types)

        machines = await asyncio.gather(*(buy() for _ in range(emulated.count)))
        await _until(kube, emulated.count, "Provisioned", most)
        provisioned = time.monotonic()
        await tenant.start()  # another controller: it goes on where the first one was

        async def give_back(machine: Machine) -> None:
            async with gate:
                await tenant.give_back(machine, within=_PATIENCE)

        await asyncio.gather(*map(give_back, machines))
        await _until(kube, emulated.count, "Available", most)
        done = time.monotonic()
        whole = await _whole_chains(kube)
        left = len(await tenant.provider.list())
        await tenant.stop()
        passing.cancel()
        return {
            "provider": "metal",
            "hosts": emulated.count,
            "registered_s": registered - began,
            "provisioned_s": provisioned - registered,
            "given_back_s": done - provisioned,
            "cpu_ms_per_host": 1000 * (time.process_time() - cpu) / emulated.count,
            "most_at_work": most[0],
            "hosts_lost": emulated.count - whole,
            "machines_left": left,
        }


async def _pass_time(tenant: Tenant) -> None:
    """As it really does: what an overloaded machine did not answer is asked again in time."""
    before = time.monotonic()
    while True:
        await asyncio.sleep(0.5)
        tenant.now += time.monotonic() - before
        before = time.monotonic()


async def _until(kube: KubeClient, count: int, state: str, most: list[int]) -> None:
    """Until so many hosts are in that state; the most that were at work meanwhile is kept."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        statuses: list[Mapping[str, Any]] = []
        with contextlib.suppress(ApiUnreachableError):  # 500 hosts keep it busy
            statuses = [(each.get("status") or {}) for each in await kube.list(BAREMETALHOSTS)]
        most[0] = max(most[0], sum(bool(each.get("step")) for each in statuses))
        if sum(each.get("state") == state for each in statuses) == count:
            return
        assert time.monotonic() < deadline, Counter(each.get("state") for each in statuses)
        await asyncio.sleep(1.0)


async def _whole_chains(kube: KubeClient) -> int:
    """Hosts whose ledger is true and tells of one whole cycle."""
    chains = await Ledger(kube).chains()
    whole = 0
    for body in await kube.list(BAREMETALHOSTS):
        chain = chains.get(body["metadata"]["uid"], ())
        true = not list(flaws(body["metadata"]["name"], chain, head=body["status"]["ledgerHead"]))
        events = [each.event for each in chain]
        whole += true and events[:5] == _CYCLE
    return whole
