"""A hall of bare-metal hosts: sushy-emulator behind a proxy that plays the machines and breaks their controllers.

A machine that is switched on with media in its drives boots: it reads its seed, and either wipes itself and reports, or
joins as a Node. The faults are a machine's own (`Machine`): a controller that lies, hangs, forgets, or knows other
passwords.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

import nocloud_seeds
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import AlreadyExistsError, ApiUnreachableError
from autonodes.kube.resources import BAREMETALHOSTS, NODES, SECRETS
from bmc_emulator import system_uuid
from controlplane import free_port

USERNAME, PASSWORD = "root", "calvin-of-the-test"
SECRET_NAME = "bmc"
PROVIDER_ID_FILE = "/etc/kubernetes/provider-id"


@dataclass
class Machine:
    """:param lies: power commands are accepted, and nothing happens, so many times
    :param hangs: nothing is answered
    :param forgets: the media are gone when it boots
    :param denies: it says that it is off, whatever it is
    :param joins: it becomes a node when it boots
    :param wipe_level: what its wiping program reports, "" for nothing at all
    """

    seed_url: str = ""
    on: bool = False
    lies: int = 0
    hangs: bool = False
    forgets: bool = False
    denies: bool = False
    joins: bool = True
    wipe_level: str = "full"
    boots: int = 0
    commands: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Emulator:
    """:param port: where a `Hall` answers for it: the same for all, so that the addresses of the hosts stay good"""

    url: str
    port: int
    count: int


@contextlib.contextmanager
def emulator(directory: Path, count: int, *, delay: int = 0) -> Iterator[Emulator]:
    """sushy-emulator with so many systems.

    :param delay: most seconds that a power command takes
    """
    port, directory = free_port(), directory / "emulator"
    directory.mkdir()
    script, log = Path(__file__).with_name("bmc_emulator.py"), directory / "log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, script, str(port), str(count), directory, str(delay)], stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield Emulator(f"http://127.0.0.1:{port}", free_port(), count)
    finally:
        child.kill()
        child.wait(timeout=30)


class Hall:
    def __init__(self, kube: KubeClient, emulator: Emulator) -> None:
        self._kube, self._emulator = kube, emulator
        self.machines = {system_uuid(index): Machine() for index in range(emulator.count)}
        self.url = f"http://127.0.0.1:{emulator.port}"
        self._booting: set[asyncio.Task[None]] = set()

    def machine(self, index: int) -> Machine:
        return self.machines[system_uuid(index)]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Hall]:
        app = web.Application()
        app.router.add_get("/image.iso", self._image)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        async with aiohttp.ClientSession() as self._session:
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", self._emulator.port, reuse_address=True).start()
                yield self
            finally:
                for task in self._booting:
                    task.cancel()
                await asyncio.gather(*self._booting, return_exceptions=True)
                await runner.cleanup()

    @property
    def image(self) -> str:
        return f"{self.url}/image.iso"

    def address(self, index: int) -> str:
        return f"{self.url}/redfish/v1/Systems/{system_uuid(index)}"

    async def enlist(self, index: int, **spec: Any) -> str:
        """A BareMetalHost for the machine of this number, and the Secret of all of them."""
        data = {"username": USERNAME, "password": PASSWORD}
        secret = {
            "metadata": {"name": SECRET_NAME},
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
        }
        with contextlib.suppress(AlreadyExistsError):
            await self._kube.create(SECRETS, secret, "kube-system")
        name = spec.pop("name", f"host-{index:03}")
        given: dict[str, Any] = {
            "bmc": {"address": self.address(index), "credentialsSecret": SECRET_NAME},
            "instanceType": "metal.small",
            "zone": f"rack-{index % 2}",
            "cpu": "8",
            "memory": "32Gi",
            "price": 0.4,
        }
        body = {
            "apiVersion": "autonodes.io/v1alpha1",
            "kind": "BareMetalHost",
            "metadata": {"name": name},
            "spec": given | spec,
        }
        with contextlib.suppress(AlreadyExistsError):
            await self._kube.create(BAREMETALHOSTS, body)
        return str(name)

    async def _image(self, request: web.Request) -> web.Response:
        del request
        return web.Response(body=b"an image")

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.split("/")
        machine = self.machines.get(parts[4]) if len(parts) > 4 else None
        if machine is not None and machine.hangs:
            await asyncio.Event().wait()
        expected = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        if request.path.strip("/") != "redfish/v1" and request.headers.get("Authorization") != f"Basic {expected}":
            return web.json_response({"error": {"message": "no"}}, status=401)
        body = await request.read()
        said = json.loads(body) if body else {}
        if machine is not None and request.path.endswith("ComputerSystem.Reset"):
            machine.commands.append(said["ResetType"])
            if machine.lies:
                machine.lies -= 1
                return web.Response(status=204)
        answer, content = await self._ask(request.method, request.path_qs, body)
        if machine is not None and answer.status < 300:
            content = self._noted(machine, request.path, said, content)
        headers = {key: value for key, value in answer.headers.items() if key in ("Content-Type", "Location", "ETag")}
        return web.Response(status=answer.status, body=content, headers=headers)

    async def _ask(self, method: str, path: str, body: bytes) -> tuple[aiohttp.ClientResponse, bytes]:
        headers = {"Content-Type": "application/json"} if body else {}
        async with self._session.request(
            method, self._emulator.url + path, data=body or None, headers=headers
        ) as answer:
            return answer, await answer.read()

    def _noted(self, machine: Machine, path: str, said: dict[str, Any], content: bytes) -> bytes:
        if path.endswith("InsertMedia") and "/seed/" in (said.get("Image") or ""):
            machine.seed_url = said["Image"]
        elif path.endswith("EjectMedia") and not path.endswith("/Cd/Actions/VirtualMedia.EjectMedia"):
            machine.seed_url = ""
        elif path.endswith("ComputerSystem.Reset"):
            self._switched(machine, said["ResetType"])
        elif path.rstrip("/").endswith(tuple(self.machines)) and machine.denies and b"PowerState" in content:
            return content.replace(b'"PowerState": "On"', b'"PowerState": "Off"')
        return content

    def _switched(self, machine: Machine, command: str) -> None:
        machine.on = command not in ("ForceOff", "GracefulShutdown")
        if machine.forgets:
            machine.seed_url = ""
        if machine.on and machine.seed_url:
            machine.boots += 1
            self._booting.add(task := asyncio.create_task(self._boot(machine, machine.seed_url)))
            task.add_done_callback(self._booting.discard)

    async def _boot(self, machine: Machine, seed_url: str) -> None:
        async with self._session.get(seed_url) as answer:
            if answer.status != 200:
                return  # the attempt is over
            seed = nocloud_seeds.read(await answer.read())
        await self.run(machine, seed["user-data"].decode(), seed["meta-data"].decode())

    async def run(self, machine: Machine, script: str, meta_data: str) -> None:
        """What a machine does with its seed: it wipes itself and reports, or joins."""
        report_to = re.search(r"^report_to=(\S+)$", script, re.M)
        if report_to:
            await self._wipe(machine, report_to[1])
        elif machine.joins:
            name = meta_data.rpartition("local-hostname:")[2].strip()
            await self._join(name, nocloud_seeds.written(script)[PROVIDER_ID_FILE].decode())

    async def _wipe(self, machine: Machine, report_to: str) -> None:
        if machine.wipe_level:
            report = {"level": machine.wipe_level, "drive S1": "512 GB overwritten"}
            async with self._session.post(report_to, json=report) as answer:
                await answer.read()

    async def _join(self, name: str, provider_id: str) -> None:
        node = {"metadata": {"name": name}, "spec": {"providerID": provider_id}}
        while True:  # as a kubelet does
            try:
                await self._kube.create(NODES, node)
            except AlreadyExistsError:
                return
            except ApiUnreachableError:
                await asyncio.sleep(1.0)
            else:
                return


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
