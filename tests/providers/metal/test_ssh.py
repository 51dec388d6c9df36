"""Hosts that are always on: a real SSH server, and programs that really run and end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from autonodes.api.baremetal import SSH
from autonodes.kube.errors import AlreadyExistsError
from autonodes.kube.resources import BAREMETALHOSTS, SECRETS
from autonodes.provider import BootFile, BootPlan, BootProcess, NodeSettings
from controlplane import RunningControlPlane, binaries
from metal_tenant import Tenant
from providers.metal.bmc import BadCredentialsError, BadHostKeyError, BMCUnreachableError
from providers.metal.ssh import Ssh
from ssh_host import SshHost, ssh_host

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Registers:
    """Becomes a node by registering itself with kubectl, over and over, as a supervised program is."""

    node_name: str
    kubeconfig: Path

    def boot_plan(self, settings: NodeSettings) -> BootPlan:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.node_name},
            "spec": {"providerID": settings.provider_id},
        }
        create = "kubectl --kubeconfig=/etc/kubernetes/secret create -f /etc/kubernetes/node.json"
        return BootPlan(
            node_name=self.node_name,
            files=(
                BootFile(path="/etc/kubernetes/secret", content=self.kubeconfig.read_bytes(), mode=0o600),
                BootFile(path="/etc/kubernetes/node.json", content=json.dumps(node).encode()),
            ),
            processes=(
                BootProcess(name="stays", argv=("busybox", "sleep", "100000")),
                BootProcess(name="joins", argv=("busybox", "sh", "-c", f"{create}; exec busybox sleep 100000")),
            ),
        )


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHost]:
    with ssh_host(tmp_path_factory.mktemp("ssh"), binaries()["kubectl"]) as running:
        yield running


def login(machine: SshHost, *, host_key: str = "", key: str = "") -> Ssh:
    return Ssh(
        SSH(address="127.0.0.1", port=machine.port, host_key=host_key or machine.host_key, credentials_secret="key"),
        "root",
        key or machine.private_key,
    )


async def enlist(tenant: Tenant, machine: SshHost, **ssh: Any) -> str:
    data = {"ssh-privatekey": base64.b64encode(machine.private_key.encode()).decode()}
    with contextlib.suppress(AlreadyExistsError):
        await tenant.kube.create(SECRETS, {"metadata": {"name": "ssh"}, "data": data}, "kube-system")
    reached = {"address": "127.0.0.1", "port": machine.port, "hostKey": machine.host_key, "credentialsSecret": "ssh"}
    spec = {"ssh": reached | ssh, "instanceType": "box", "zone": "attic", "cpu": "4", "memory": "8Gi", "price": 0.1}
    body = {"apiVersion": "autonodes.io/v1alpha1", "kind": "BareMetalHost", "metadata": {"name": "always-on"}}
    await tenant.kube.create(BAREMETALHOSTS, body | {"spec": spec | {"wipe": "metadata"}})
    return "always-on"


async def test_a_host_that_is_always_on_becomes_a_node_and_is_reset(
    tenant: Tenant, machine: SshHost, plane: RunningControlPlane
) -> None:
    host = await enlist(tenant, machine)
    await tenant.until_in(host, "Available")
    bought = await tenant.buy(joins=lambda name: Registers(name, plane.kubeconfig))
    await tenant.until_in(host, "Provisioned")
    secret = machine.path("/etc/kubernetes/secret")
    assert secret.stat().st_mode & 0o777 == 0o600
    driver = login(machine)
    assert await asyncio.to_thread(driver.power) == "On"
    await tenant.give_back(bought)
    await tenant.until_in(host, "Available")
    assert await asyncio.to_thread(driver.power) == "Off"
    assert not secret.exists()
    assert not machine.path("/var/lib/autonodes").exists()
    chain = await tenant.chain(host)
    assert [each.event for each in chain] == ["registered", "wiped", "tenant", "released", "wiped"]
    assert {each.level for each in chain if each.event == "wiped"} == {"metadata"}
    assert "/etc/kubernetes" in chain[-1].proof["removed"]


async def test_nothing_is_told_to_a_host_that_shows_another_key(tenant: Tenant, machine: SshHost) -> None:
    another = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    host = await enlist(tenant, machine, hostKey=another)
    status = await tenant.until(
        host, lambda status: any(each["reason"] == "BadHostKey" for each in status.get("conditions") or ())
    )
    assert status["state"] in ("", "Registering")
    with pytest.raises(BadHostKeyError, match="another key"):
        await asyncio.to_thread(login(machine, host_key=another).power)


def test_who_may_not_log_in_is_told_so(machine: SshHost) -> None:
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with pytest.raises(BadCredentialsError, match="mend the Secret"):
        login(machine, key=stranger).power()
    with pytest.raises(BadCredentialsError, match="private key"):
        login(machine, key="no key")


def test_a_host_that_is_not_there_is_unreachable(machine: SshHost) -> None:
    given = SSH(address="127.0.0.1", port=1, host_key=machine.host_key, credentials_secret="key")
    with pytest.raises(BMCUnreachableError):
        Ssh(given, "root", machine.private_key).power()


def test_a_reset_takes_what_was_mounted_and_nothing_else(machine: SshHost) -> None:
    driver = login(machine)
    machine.path("/etc/kubernetes").mkdir(exist_ok=True)
    machine.path("/var/lib/kubelet/pods/a b").mkdir(parents=True)
    machine.path("/etc/kept").write_text("kept")
    assert driver.reset()["level"] == "metadata"
    assert not machine.path("/etc/kubernetes").exists()
    assert not machine.path("/var/lib/kubelet").exists()
    assert machine.path("/etc/kept").exists()
