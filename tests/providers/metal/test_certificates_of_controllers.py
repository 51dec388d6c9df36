"""Controllers whose certificate nobody vouches for: the host says so, and the others are used."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from autonodes.kube.errors import AlreadyExistsError
from autonodes.kube.resources import SECRETS
from autonodes.provider import InsufficientCapacityError
from metal_tenant import Tenant
from redfish import PASSWORD, USERNAME
from syncer import pki
from syncer.pki import CLUSTER_CA, Leaf, Pki

pytestmark = pytest.mark.integration


@pytest.fixture
def authority(tmp_path: Path) -> Pki:
    made = Pki(tmp_path / "pki")
    pki.ensure(made, [Leaf(name="bmc", common_name="bmc", hosts=("127.0.0.1",))], now=dt.datetime.now(dt.UTC))
    return made


@pytest.fixture
async def door(tenant: Tenant, authority: Pki) -> AsyncIterator[str]:
    """The hall's controllers by HTTPS: where that is."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.certificate("bmc"), authority.key("bmc"))
    port = int(tenant.hall.url.rpartition(":")[2])
    tasks: set[asyncio.Task[Any]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        for pair in ((reader, inner_writer), (inner_reader, writer)):
            tasks.add(task := asyncio.create_task(pass_on(*pair)))
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def address(tenant: Tenant, door: str, index: int) -> str:
    return tenant.hall.address(index).replace(tenant.hall.url, door)


def reason(status: dict[str, Any]) -> str:
    return next((each["reason"] for each in status.get("conditions") or () if each["type"] == "Ready"), "")


async def test_a_host_with_a_bad_certificate_says_so_and_is_not_sold(tenant: Tenant, door: str) -> None:
    spec = {"address": address(tenant, door, 0), "credentialsSecret": "bmc"}
    bad = await tenant.hall.enlist(0, bmc=spec, instanceType="metal.bad")
    fine = await tenant.hall.enlist(1)
    status = await tenant.until(bad, lambda status: reason(status) == "BadCertificate")
    assert any("ca.crt" in each["message"] for each in status["conditions"])
    await tenant.until_in(fine, "Available")
    assert (await tenant.buy()).instance_type == "metal.small"
    with pytest.raises(InsufficientCapacityError):
        await tenant.buy()


async def test_an_authority_in_the_secret_is_trusted(tenant: Tenant, door: str, authority: Pki) -> None:
    data = {"username": USERNAME, "password": PASSWORD, "ca.crt": authority.certificate(CLUSTER_CA).read_text()}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    with contextlib.suppress(AlreadyExistsError):
        await tenant.kube.create(SECRETS, {"metadata": {"name": "with-ca"}, "data": encoded}, "kube-system")
    spec = {"address": address(tenant, door, 0), "credentialsSecret": "with-ca"}
    await tenant.until_in(await tenant.hall.enlist(0, bmc=spec), "Available")
    await tenant.kube.delete(SECRETS, "with-ca", "kube-system")


async def test_a_certificate_need_not_be_checked_if_the_host_says_so(tenant: Tenant, door: str) -> None:
    spec = {"address": address(tenant, door, 0), "credentialsSecret": "bmc", "skipCertificateCheck": True}
    await tenant.until_in(await tenant.hall.enlist(0, bmc=spec), "Available")
