"""Bootstrap tokens on a real API server: they authenticate, they are found again, they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import joiner.tokens
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import UnauthorizedError
from autonodes.kube.resources import NODECLAIMS, SECRETS, Resource
from clock import VirtualClock
from controlplane import RunningControlPlane
from joiner.tokens import LIFETIME, BootstrapTokens
from joiner_machines import Machine, make_claim

pytestmark = pytest.mark.integration

SELF_REVIEWS = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(time.time())


@pytest.fixture
async def claim(admin: KubeClient) -> AsyncIterator[tuple[str, str]]:
    made = await make_claim(admin)
    yield made["metadata"]["name"], made["metadata"]["uid"]
    for secret in await _secrets(admin, made["metadata"]["uid"]):
        await admin.delete(SECRETS, secret["metadata"]["name"], "kube-system")


async def _secrets(client: KubeClient, uid: str) -> list[dict[str, object]]:
    return await client.list(SECRETS, "kube-system", label_selector=f"autonodes.io/claim-uid={uid}")


async def test_a_token_authenticates_as_a_machine_that_may_only_ask_for_certificates(
    controller: KubeClient,
    clock: VirtualClock,
    claim: tuple[str, str],
    signing_plane: RunningControlPlane,
    tmp_path: Path,
) -> None:
    name, uid = claim
    token = await BootstrapTokens(controller, clock).issue(claim_name=name, claim_uid=uid)
    async with Machine.with_token(signing_plane, tmp_path, token.value).client as machine:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        user = (await machine.create(SELF_REVIEWS, body))["status"]["userInfo"]
    assert user["username"] == f"system:bootstrap:{token.id}"
    assert "system:bootstrappers:autonodes" in user["groups"]


async def test_a_repeated_launch_gets_the_same_token(
    controller: KubeClient, clock: VirtualClock, claim: tuple[str, str]
) -> None:
    name, uid = claim
    tokens = BootstrapTokens(controller, clock)
    issued = await asyncio.gather(*(tokens.issue(claim_name=name, claim_uid=uid) for _ in range(5)))
    after_a_crash = await BootstrapTokens(controller, clock).issue(claim_name=name, claim_uid=uid)
    assert {token.value for token in issued} == {after_a_crash.value}
    assert len(await _secrets(controller, uid)) == 1


async def test_a_token_that_is_nearly_over_is_made_to_last(
    controller: KubeClient, clock: VirtualClock, claim: tuple[str, str]
) -> None:
    name, uid = claim
    tokens = BootstrapTokens(controller, clock)
    first = await tokens.issue(claim_name=name, claim_uid=uid)
    await clock.advance(LIFETIME * 0.4)
    assert await tokens.issue(claim_name=name, claim_uid=uid) == await tokens.find(first.id)
    await clock.advance(LIFETIME * 0.4)
    extended = await tokens.issue(claim_name=name, claim_uid=uid)
    assert extended.value == first.value
    assert extended.expires_at == pytest.approx(clock.now() + LIFETIME, abs=1)


async def test_an_expired_token_is_replaced_by_one_with_another_secret(
    controller: KubeClient, clock: VirtualClock, claim: tuple[str, str]
) -> None:
    name, uid = claim
    tokens = BootstrapTokens(controller, clock)
    first = await tokens.issue(claim_name=name, claim_uid=uid)
    await clock.advance(LIFETIME + 1)
    second = await tokens.issue(claim_name=name, claim_uid=uid)
    assert second.id == first.id
    assert second.secret != first.secret


async def test_an_expired_token_does_not_authenticate(
    controller: KubeClient, claim: tuple[str, str], signing_plane: RunningControlPlane, tmp_path: Path
) -> None:
    name, uid = claim
    long_ago = BootstrapTokens(controller, VirtualClock(time.time() - LIFETIME - 60))
    token = await long_ago.issue(claim_name=name, claim_uid=uid)
    async with Machine.with_token(signing_plane, tmp_path, token.value).client as machine:
        with pytest.raises(UnauthorizedError):
            await machine.version()


async def test_a_revoked_token_is_gone_and_revoking_again_does_nothing(
    controller: KubeClient,
    clock: VirtualClock,
    claim: tuple[str, str],
    signing_plane: RunningControlPlane,
    tmp_path: Path,
) -> None:
    name, uid = claim
    tokens = BootstrapTokens(controller, clock)
    token = await tokens.issue(claim_name=name, claim_uid=uid)
    for _ in range(2):
        await tokens.revoke(uid)
    assert await tokens.find(token.id) is None
    async with Machine.with_token(signing_plane, tmp_path, token.value).client as machine:
        with pytest.raises(UnauthorizedError):
            await machine.version()


async def test_a_token_goes_with_its_claim_even_when_nobody_revokes_it(
    controller: KubeClient, admin: KubeClient, clock: VirtualClock, claim: tuple[str, str]
) -> None:
    name, uid = claim
    await BootstrapTokens(controller, clock).issue(claim_name=name, claim_uid=uid)
    await admin.delete(NODECLAIMS, name)
    async with asyncio.timeout(60):
        while await _secrets(admin, uid):  # noqa: ASYNC110 -- the garbage collector tells nobody
            await asyncio.sleep(0.1)


async def test_two_claims_whose_ids_meet_get_two_tokens(
    controller: KubeClient, admin: KubeClient, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joiner.tokens, "_token_id", lambda uid, number: f"same{number:02}")
    tokens = BootstrapTokens(controller, clock)
    claims = [await make_claim(admin) for _ in range(2)]
    issued = [
        await tokens.issue(claim_name=each["metadata"]["name"], claim_uid=each["metadata"]["uid"]) for each in claims
    ]
    assert [token.id for token in issued] == ["same00", "same01"]
    for each in claims:
        await tokens.revoke(each["metadata"]["uid"])


async def test_a_secret_that_is_damaged_is_replaced(
    controller: KubeClient, clock: VirtualClock, claim: tuple[str, str]
) -> None:
    name, uid = claim
    tokens = BootstrapTokens(controller, clock)
    token = await tokens.issue(claim_name=name, claim_uid=uid)
    patch = {"data": {"token-secret": None}}
    await controller.merge_patch(SECRETS, f"bootstrap-token-{token.id}", patch, "kube-system")
    assert await tokens.find(token.id) is None
    assert (await tokens.issue(claim_name=name, claim_uid=uid)).secret != token.secret


async def test_the_secret_part_does_not_show(
    controller: KubeClient, clock: VirtualClock, claim: tuple[str, str]
) -> None:
    token = await BootstrapTokens(controller, clock).issue(claim_name=claim[0], claim_uid=claim[1])
    assert token.secret not in f"{token} {token!r}"
