"""Machines ask a real API server for certificates; the approver decides, the controller manager signs."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from autonodes.controllers.clock import SystemClock
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.errors import ForbiddenError
from autonodes.kube.resources import CSRS, NODECLAIMS, NODES
from autonodes.verify.faultproxy import FaultProxy
from clock import VirtualClock
from controlplane import RunningControlPlane
from joiner.certificates import CLIENT_SIGNER, PATIENCE, Requester
from joiner.csr import CertificateApprover, SigningRequest
from joiner.tokens import BootstrapTokens
from joiner_machines import Machine, make_claim
from kube.waiting import running, until

pytestmark = pytest.mark.integration

NODE_IP = "10.88.0.7"


class Lab:
    """The approver's world: claims, their tokens, machines."""

    def __init__(self, plane: RunningControlPlane, controller: KubeClient, admin: KubeClient, directory: Path) -> None:
        self.plane, self.controller, self.admin, self.directory = plane, controller, admin, directory
        self.tokens = BootstrapTokens(controller, SystemClock())
        self.machines: list[Machine] = []

    async def claim(self) -> Object:
        return await make_claim(self.admin)

    async def machine(self, claim: Object) -> Machine:
        """A machine that was booted with the claim's token."""
        token = await self.tokens.issue(claim_name=claim["metadata"]["name"], claim_uid=claim["metadata"]["uid"])
        return self.keep(Machine.with_token(self.plane, self.directory, token.value))

    async def joined(self, claim: Object) -> Machine:
        """A machine with its client certificate."""
        machine = await self.machine(claim)
        certificate = await self.certificate(await machine.ask_client(claim["metadata"]["name"]))
        return self.keep(machine.with_certificate(certificate))

    def keep(self, machine: Machine) -> Machine:
        self.machines.append(machine)
        return machine

    async def decision(self, request: str) -> tuple[str, str]:
        """Of a request: ``Approved`` or ``Denied``, and the reason."""
        condition = (await self._status(request, "conditions"))[0]
        return condition["type"], condition["reason"]

    async def certificate(self, request: str) -> str:
        assert await self.decision(request) == ("Approved", "NodeOfClaim")
        return str(await self._status(request, "certificate"))

    async def is_pending(self, request: str) -> bool:
        return "conditions" not in (await self.admin.get(CSRS, request)).get("status", {})

    async def _status(self, request: str, key: str) -> list[dict[str, str]]:
        async with asyncio.timeout(30):
            while not (value := (await self.admin.get(CSRS, request))["status"].get(key)):  # noqa: ASYNC110 -- polls
                await asyncio.sleep(0.01)
        return value  # type: ignore[no-any-return]

    async def close(self) -> None:
        for machine in self.machines:
            await machine.client.close()


@pytest.fixture
async def lab(
    signing_plane: RunningControlPlane, controller: KubeClient, admin: KubeClient, tmp_path: Path
) -> AsyncIterator[Lab]:
    lab = Lab(signing_plane, controller, admin, tmp_path)
    yield lab
    await lab.close()


@pytest.fixture
async def approver(controller: KubeClient) -> AsyncIterator[CertificateApprover]:
    approver = CertificateApprover(controller, SystemClock())
    async with running(approver.run()):
        yield approver


def name_of(claim: Object) -> str:
    return str(claim["metadata"]["name"])


@pytest.mark.usefixtures("approver")
async def test_a_machine_becomes_a_node_serves_and_renews(lab: Lab) -> None:
    claim = await lab.claim()
    name = name_of(claim)
    node = await lab.joined(claim)
    await node.client.create(NODES, {"metadata": {"name": name}})
    addresses = [{"type": "InternalIP", "address": NODE_IP}, {"type": "Hostname", "address": name}]
    await node.client.merge_patch(NODES, name, {"status": {"addresses": addresses}}, subresource="status")

    pem = base64.b64decode(await lab.certificate(await node.ask_serving(name, NODE_IP)))
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == [name]
    assert [str(each) for each in names.value.get_values_for_type(x509.IPAddress)] == [NODE_IP]

    renewed = await lab.certificate(await node.ask_client(name))
    again = lab.keep(node.with_certificate(renewed))
    assert (await again.client.get(NODES, name))["metadata"]["name"] == name
    assert await lab.decision(await node.ask_serving(name, "10.96.0.1")) == ("Denied", "WrongAddress")


@pytest.mark.usefixtures("approver")
async def test_a_token_buys_no_other_name(lab: Lab) -> None:
    mine, other = await lab.claim(), await lab.claim()
    machine = await lab.machine(mine)
    assert await lab.decision(await machine.ask_client(name_of(other))) == ("Denied", "WrongNode")
    request = await machine.ask_client(name_of(mine), organizations=("system:nodes", "system:masters"))
    assert await lab.decision(request) == ("Denied", "WrongOrganization")


@pytest.mark.usefixtures("approver")
async def test_a_node_can_not_even_ask_in_the_name_of_another(lab: Lab) -> None:
    mine, other = await lab.claim(), await lab.claim()
    node = await lab.joined(mine)
    with pytest.raises(ForbiddenError):  # by NodeRestriction, before the approver sees it
        await node.ask_serving(name_of(other))
    with pytest.raises(ForbiddenError):
        await node.ask_client(name_of(other))


@pytest.mark.usefixtures("approver")
async def test_nobody_else_gets_a_nodes_certificate(lab: Lab) -> None:
    claim = await lab.claim()
    somebody = await lab.machine(claim)
    await somebody.client.close()
    somebody.client = KubeClient.from_kubeconfig(lab.plane.kubeconfig)
    assert await lab.decision(await somebody.ask_client(name_of(claim))) == ("Denied", "NotANode")
    assert await lab.decision(await somebody.ask_serving(name_of(claim))) == ("Denied", "NotANode")


@pytest.mark.usefixtures("approver")
async def test_a_machine_whose_claim_is_deleted_comes_too_late(lab: Lab) -> None:
    claim = await lab.claim()
    machine = await lab.machine(claim)
    finalizers = {"metadata": {"finalizers": ["karpenter.sh/termination"]}}
    await lab.admin.merge_patch(NODECLAIMS, name_of(claim), finalizers)
    await lab.admin.delete(NODECLAIMS, name_of(claim))
    assert await lab.decision(await machine.ask_client(name_of(claim))) == ("Denied", "ClaimDeleted")
    await lab.admin.merge_patch(NODECLAIMS, name_of(claim), {"metadata": {"finalizers": None}})
    made_anew = await make_claim(lab.admin, name_of(claim))
    assert await lab.decision(await machine.ask_client(name_of(made_anew))) in (
        ("Denied", "UnknownClaim"),  # the new claim is not the one of the token
        ("Denied", "UnknownToken"),  # or the garbage collector was faster
    )


async def test_what_waits_when_the_approver_starts_is_decided(lab: Lab, controller: KubeClient) -> None:
    claim = await lab.claim()
    request = await (await lab.machine(claim)).ask_client(name_of(claim))
    async with running(CertificateApprover(controller, SystemClock()).run()):
        await lab.certificate(request)


@pytest.mark.usefixtures("approver")
async def test_many_machines_join_at_once(lab: Lab) -> None:
    claims = await asyncio.gather(*(lab.claim() for _ in range(30)))
    machines = await asyncio.gather(*(lab.machine(claim) for claim in claims))
    requests = await asyncio.gather(
        *(machine.ask_client(name_of(claim)) for machine, claim in zip(machines, claims, strict=True))
    )
    decisions = await asyncio.gather(*(lab.decision(request) for request in requests))
    assert set(decisions) == {("Approved", "NodeOfClaim")}


@pytest.mark.usefixtures("approver")
async def test_requests_to_other_signers_are_left_alone(lab: Lab) -> None:
    claim = await lab.claim()
    machine = await lab.machine(claim)
    foreign = await machine._ask("example.org/signer", name_of(claim), ("client auth",))
    await lab.decision(await machine.ask_client(name_of(claim)))
    assert await lab.is_pending(foreign)


async def test_what_can_not_be_looked_up_stays_pending_until_it_can(lab: Lab) -> None:
    claim = await lab.claim()
    machine = await lab.machine(claim)
    clock = VirtualClock(time.time())
    async with FaultProxy(lab.plane.kubeconfig).running() as proxy, proxy.client(sleep=clock.sleep) as through:
        approver = CertificateApprover(through, clock)
        async with running(approver.run()):
            await until(lambda: proxy.watches == 2)
            proxy.refuse_next(503, times=10_000)
            seen = len(proxy.requests)
            request = await machine.ask_client(name_of(claim))
            while len(proxy.requests) < seen + 10:
                await clock.advance(1)
                await asyncio.sleep(0.01)
            assert await lab.is_pending(request)
            proxy.stop_refusing()
            while await lab.is_pending(request):
                await clock.advance(1)
                await asyncio.sleep(0.01)
            await lab.certificate(request)


async def test_a_serving_certificate_waits_for_the_machines_addresses(lab: Lab, controller: KubeClient) -> None:
    clock = VirtualClock(time.time())
    known: dict[str, tuple[str, ...]] = {}

    async def addresses(node: str) -> tuple[str, ...] | None:
        return known.get(node)

    async with running(CertificateApprover(controller, clock, addresses=addresses).run()):
        node = await lab.joined(claim := await lab.claim())
        name = name_of(claim)
        await node.client.create(NODES, {"metadata": {"name": name}})
        request = await node.ask_serving(name, NODE_IP)
        for _ in range(5):
            await clock.advance(1)
            await asyncio.sleep(0.02)
        assert await lab.is_pending(request)
        known[name] = (NODE_IP,)
        while await lab.is_pending(request):
            await clock.advance(1)
            await asyncio.sleep(0.01)
        await lab.certificate(request)
        claimed = [{"type": "InternalIP", "address": "10.96.0.1"}]
        await node.client.merge_patch(NODES, name, {"status": {"addresses": claimed}}, subresource="status")
        assert await lab.decision(await node.ask_serving(name, "10.96.0.1")) == ("Denied", "WrongAddress")


async def test_addresses_that_never_come_end_in_a_denial(lab: Lab, controller: KubeClient) -> None:
    clock = VirtualClock(time.time())
    async with running(CertificateApprover(controller, clock).run()):
        node = await lab.joined(claim := await lab.claim())
        request = await node.ask_serving(name_of(claim), NODE_IP)
        await clock.advance(PATIENCE + 1)
        while await lab.is_pending(request):
            await clock.advance(1)
            await asyncio.sleep(0.01)
        assert await lab.decision(request) == ("Denied", "AddressesUnknown")


async def test_what_is_no_request_is_denied(lab: Lab, controller: KubeClient) -> None:
    # the API server refuses most garbage by itself; what it lets through is caught here
    approver = CertificateApprover(controller, SystemClock())
    requester = Requester(username="x", groups=frozenset(), signer=CLIENT_SIGNER, usages=frozenset())
    request = SigningRequest(
        name=uuid.uuid4().hex, resource_version="1", created_at=0.0, requester=requester, pem=b"garbage"
    )
    assert (await approver._decide(request)).reason == "MalformedRequest"
