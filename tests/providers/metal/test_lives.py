"""Lives of hosts, with controllers that lie, hang and forget: emulated machines, a real API server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
from typing import Any

import pytest
from click.testing import CliRunner

from autonodes.cli.ledger import ledger
from autonodes.kube.errors import AlreadyExistsError
from autonodes.kube.resources import BAREMETALHOSTS, CONFIGMAPS, LEASES, NAMESPACES, SECRETS
from autonodes.provider import InsufficientCapacityError, MachineNotFoundError, ProviderError
from controlplane import RunningControlPlane
from metal_tenant import Tenant

pytestmark = pytest.mark.integration


def ready(status: dict[str, Any]) -> dict[str, Any]:
    return next((each for each in status.get("conditions") or () if each["type"] == "Ready"), {})


def failed(status: dict[str, Any], reason: str) -> bool:
    return bool(ready(status).get("reason") == reason)


async def test_a_host_is_wiped_used_given_back_and_wiped_before_it_is_used_again(tenant: Tenant) -> None:
    host = await tenant.hall.enlist(0)
    await tenant.until_in(host, "Available")
    machine = await tenant.buy()
    assert machine.state == "pending"
    await tenant.until_in(host, "Provisioned")
    assert (await tenant.provider.get(machine.provider_id)).state == "running"
    with pytest.raises(InsufficientCapacityError):
        await tenant.buy()
    await tenant.give_back(machine)
    await tenant.until_in(host, "Available")
    chain = await tenant.chain(host)
    assert [each.event for each in chain] == ["registered", "wiped", "tenant", "released", "wiped"]
    assert {(each.tenant, each.claim) for each in chain[2:4]} == {("blue", machine.claim_uid)}
    assert chain[1].proof["nonce"] != chain[4].proof["nonce"]
    assert (await tenant.buy()).instance_type == "metal.small"


async def test_an_accepted_power_command_is_no_boot(tenant: Tenant) -> None:
    host = await tenant.hall.enlist(0)
    await tenant.until_in(host, "Available")
    tenant.hall.machine(0).lies = 1
    await tenant.buy()
    await tenant.until(host, lambda status: status.get("step") == "booting")
    assert (await tenant.status(host))["attempts"] == 1
    await tenant.pass_time(301)
    status = await tenant.until_in(host, "Provisioned")
    assert len(status["flaps"]) == 1


async def test_media_that_were_forgotten_are_inserted_anew(tenant: Tenant) -> None:
    host = await tenant.hall.enlist(0)
    await tenant.until_in(host, "Available")
    tenant.hall.machine(0).forgets = True
    await tenant.buy()
    await tenant.until(host, lambda status: status.get("step") == "booting")
    tenant.hall.machine(0).forgets = False
    await tenant.pass_time(601)
    await tenant.until_in(host, "Provisioned")


async def test_what_never_joins_is_tried_harder_each_time_and_then_quarantined(tenant: Tenant) -> None:
    host = await tenant.hall.enlist(0)
    await tenant.until_in(host, "Available")
    machine = tenant.hall.machine(0)
    machine.joins, machine.commands = False, []
    bought = await tenant.buy()
    for attempt in (1, 2, 3):
        await tenant.until(host, lambda status, n=attempt: (status["attempts"], status["step"]) == (n, "booting"))
        await tenant.pass_time(601)
    status = await tenant.until_in(host, "Quarantined")
    assert [each for each in machine.commands if each != "ForceOff"] == ["On", "ForceRestart", "On"]
    assert machine.commands.index("ForceOff", 1) < len(machine.commands) - 1
    assert failed(status, "Quarantined")
    assert (await tenant.provider.get(bought.provider_id)).state == "stopped"
    await tenant.give_back(bought)
    with pytest.raises(InsufficientCapacityError):
        await tenant.buy()
    machine.joins = True
    await tenant.kube.merge_patch(BAREMETALHOSTS, host, {"spec": {"price": 0.5}})
    await tenant.until_in(host, "Available")
    assert [each.event for each in await tenant.chain(host)][-2:] == ["released", "wiped"]


@pytest.mark.parametrize("level", ["", "metadata", "a good one"])
async def test_without_a_sufficient_proof_nobody_gets_a_host(tenant: Tenant, level: str) -> None:
    tenant.hall.machine(0).wipe_level = level
    host = await tenant.hall.enlist(0)
    await tenant.until(host, lambda status: status.get("step") == "wiping" or bool(status.get("flaps")))
    for _ in range(3):
        await tenant.pass_time(24 * 3600.0 + 1)
        await asyncio.sleep(0.2)
        assert (await tenant.status(host))["state"] in ("Cleaning", "Quarantined")
    with pytest.raises(InsufficientCapacityError):
        await tenant.buy()
    assert [each.event for each in await tenant.chain(host)] == ["registered"]


async def test_a_controller_that_hangs_holds_up_nobody_else(tenant: Tenant) -> None:
    tenant.hall.machine(0).hangs = True
    hanging, fine = await tenant.hall.enlist(0), await tenant.hall.enlist(1)
    await tenant.until_in(fine, "Available")
    assert (await tenant.status(hanging)).get("state", "") in ("", "Registering")
    await tenant.buy()
    await tenant.until_in(fine, "Provisioned")
    tenant.hall.machine(0).hangs = False


async def test_a_host_that_says_it_is_off_while_its_node_reports_is_not_given_to_others(tenant: Tenant) -> None:
    host = await tenant.hall.enlist(0)
    await tenant.until_in(host, "Available")
    machine = await tenant.buy()
    await tenant.until_in(host, "Provisioned")
    tenant.hall.machine(0).denies = True

    def lease(at: float) -> dict[str, Any]:
        return {"spec": {"renewTime": dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}}

    with contextlib.suppress(AlreadyExistsError):
        await tenant.kube.create(NAMESPACES, {"metadata": {"name": "kube-node-lease"}})
    body = {"metadata": {"name": machine.claim_name}, **lease(tenant.now)}
    await tenant.kube.create(LEASES, body, "kube-node-lease")
    for _ in range(4):
        with contextlib.suppress(ProviderError):
            await tenant.provider.delete(machine.provider_id)
        tenant.now += 30
        await tenant.kube.merge_patch(LEASES, machine.claim_name, lease(tenant.now), "kube-node-lease")
    assert (await tenant.provider.get(machine.provider_id)).state == "terminating"
    tenant.hall.machine(0).denies = False
    await tenant.provider.delete(machine.provider_id)
    for _ in range(3):
        tenant.now += 45
        with contextlib.suppress(MachineNotFoundError):
            await tenant.provider.delete(machine.provider_id)
    with pytest.raises(MachineNotFoundError):
        await tenant.provider.get(machine.provider_id)
    await tenant.until_in(host, "Available")


async def test_wrong_credentials_are_said_by_the_host(tenant: Tenant) -> None:
    secret = {"username": base64.b64encode(b"root").decode(), "password": base64.b64encode(b"wrong").decode()}
    await tenant.kube.create(SECRETS, {"metadata": {"name": "wrong"}, "data": secret}, "kube-system")
    wrong = {"address": tenant.hall.address(0), "credentialsSecret": "wrong"}
    missing = {"address": tenant.hall.address(1), "credentialsSecret": "missing"}
    first, second = await tenant.hall.enlist(0, bmc=wrong), await tenant.hall.enlist(1, bmc=missing)
    third = await tenant.hall.enlist(2)
    status = await tenant.until(first, lambda status: failed(status, "BadCredentials"))
    assert "mend the Secret" in ready(status)["message"]
    assert "wrong" not in ready(status)["message"]
    status = await tenant.until(second, lambda status: failed(status, "BadCredentials"))
    assert "kube-system/missing does not exist" in ready(status)["message"]
    await tenant.until_in(third, "Available")
    await tenant.kube.delete(SECRETS, "wrong", "kube-system")


async def test_a_host_that_is_listed_twice_is_used_once(tenant: Tenant) -> None:
    first = await tenant.hall.enlist(0)
    again = await tenant.hall.enlist(0, name="zz-again")
    elsewhere = {"address": f"{tenant.hall.address(0)}/", "credentialsSecret": "bmc"}
    other_way = await tenant.hall.enlist(0, name="zz-other-way", bmc=elsewhere)
    names = (first, again, other_way)
    used = await tenant.until_one(names, lambda status: status.get("state") == "Available")
    for name in set(names) - {used}:
        status = await tenant.until(name, lambda status: failed(status, "Duplicate"))
        assert "delete one" in ready(status)["message"]
    offered = await tenant.provider.instance_types(tenant.node_class)
    assert sum(offering.count or 0 for each in offered for offering in each.offerings) == 1


async def test_a_host_that_is_reserved_is_for_its_tenants_only(tenant: Tenant) -> None:
    await tenant.hall.enlist(0, reservedFor=["green"])
    mine = await tenant.hall.enlist(1, reservedFor=["green", "blue"])
    await tenant.until_in(mine, "Available")
    await tenant.buy()
    with pytest.raises(InsufficientCapacityError):
        await tenant.buy()
    await tenant.until_in(mine, "Provisioned")


async def test_the_command_verifies_the_ledger_and_finds_what_was_changed(
    tenant: Tenant, plane: RunningControlPlane
) -> None:
    host = await tenant.hall.enlist(0)
    await tenant.until_in(host, "Available")
    asked = ["verify", "--kubeconfig", str(plane.kubeconfig)]
    told = await asyncio.to_thread(CliRunner().invoke, ledger, asked, standalone_mode=False)
    assert told.return_value == 0, told.output
    assert "all true" in told.output
    uid = (await tenant.kube.get(BAREMETALHOSTS, host))["metadata"]["uid"]
    await tenant.kube.delete(CONFIGMAPS, f"autonodes-ledger-{uid}-000002", "kube-system")
    told = await asyncio.to_thread(CliRunner().invoke, ledger, asked, standalone_mode=False)
    assert told.return_value == 1
    assert f"{host}: entry 2: is missing at the end" in told.output
    await tenant.kube.delete(CONFIGMAPS, f"autonodes-ledger-{uid}-000001", "kube-system")
