"""Who may be an agent, and for which node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from joiner.konnectivity.authentication import (
    AGENT_USER,
    REVIEW_LIFETIME,
    Authenticator,
    Identifiers,
    UnauthenticatedError,
    parse_identifiers,
)

NODE_CLAIM = "authentication.kubernetes.io/node-name"
NODE_1 = Identifiers(hosts=("node-1",))


class Reviewer:
    """Knows the token ``good``, of a pod on node-1."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {
            "authenticated": True,
            "user": {"username": AGENT_USER, "extra": {NODE_CLAIM: ["node-1"]}},
        }
        self.asked: list[str] = []

    async def __call__(self, token: str) -> Mapping[str, Any]:
        self.asked.append(token)
        return self.status if token == "good" else {"authenticated": False}


def certificate(subject: str, common_name: str) -> dict[str, list[bytes]]:
    return {"x509_subject": [subject.encode()], "x509_common_name": [common_name.encode()]}


async def by_token(reviewer: Reviewer, identifiers: Identifiers = NODE_1, *authorization: str) -> str:
    return await Authenticator(reviewer).authenticate({}, authorization or ("Bearer good",), identifiers)


async def test_a_token_of_a_pod_on_the_node_is_good() -> None:
    assert await by_token(Reviewer()) == "node-1"


async def test_an_agent_cannot_stand_for_another_node() -> None:
    with pytest.raises(UnauthenticatedError, match="node-2"):
        await by_token(Reviewer(), Identifiers(hosts=("node-2",)))
    with pytest.raises(UnauthenticatedError, match="node-2"):
        await by_token(Reviewer(), Identifiers(hosts=("node-1", "node-2")))


@pytest.mark.parametrize("authorization", ["", "good", "Basic good", "Bearer bad", "Bearer "])
async def test_without_a_known_bearer_token_nobody_is_an_agent(authorization: str) -> None:
    with pytest.raises(UnauthenticatedError):
        await by_token(Reviewer(), NODE_1, authorization)


async def test_several_tokens_are_refused() -> None:
    with pytest.raises(UnauthenticatedError):
        await by_token(Reviewer(), NODE_1, "Bearer good", "Bearer good")


@pytest.mark.parametrize(
    "user",
    [
        {"username": "system:serviceaccount:default:konnectivity-agent", "extra": {NODE_CLAIM: ["node-1"]}},
        {"username": "kubernetes-admin", "extra": {NODE_CLAIM: ["node-1"]}},
        {"username": AGENT_USER},
        {"username": AGENT_USER, "extra": {NODE_CLAIM: []}},
        {"username": AGENT_USER, "extra": {NODE_CLAIM: ["node-1", "node-2"]}},
        {},
    ],
)
async def test_a_token_of_another_account_or_of_no_node_is_refused(user: dict[str, Any]) -> None:
    reviewer = Reviewer()
    reviewer.status = {"authenticated": True, "user": user}
    with pytest.raises(UnauthenticatedError):
        await by_token(reviewer)


async def test_the_token_is_in_no_error() -> None:
    reviewer = Reviewer()
    with pytest.raises(UnauthenticatedError) as error:
        await by_token(reviewer, NODE_1, "Bearer sesame")
    assert "sesame" not in str(error.value)


async def test_a_review_is_believed_for_a_short_time_only() -> None:
    reviewer, now = Reviewer(), [1000.0]
    authenticator = Authenticator(reviewer, now=lambda: now[0])
    for moment in (0.0, REVIEW_LIFETIME - 1, REVIEW_LIFETIME + 1):
        now[0] = 1000.0 + moment
        await authenticator.authenticate({}, ["Bearer good"], NODE_1)
    assert reviewer.asked == ["good", "good"]
    reviewer.status = {"authenticated": False}
    now[0] += REVIEW_LIFETIME + 1
    with pytest.raises(UnauthenticatedError):
        await authenticator.authenticate({}, ["Bearer good"], NODE_1)


async def test_a_failed_review_is_not_believed_at_all() -> None:
    reviewer = Reviewer()
    authenticator = Authenticator(reviewer)
    for _ in range(2):
        with pytest.raises(UnauthenticatedError):
            await authenticator.authenticate({}, ["Bearer bad"], NODE_1)
    assert reviewer.asked == ["bad", "bad"]


async def test_a_node_certificate_is_good_for_its_node() -> None:
    context = certificate("CN=system:node:node-1,O=system:nodes", "system:node:node-1")
    assert await Authenticator(None).authenticate(context, [], NODE_1) == "node-1"
    with pytest.raises(UnauthenticatedError, match="node-2"):
        await Authenticator(None).authenticate(context, [], Identifiers(hosts=("node-2",)))


@pytest.mark.parametrize(
    ("subject", "common_name"),
    [
        ("CN=kubernetes-admin,O=system:masters", "kubernetes-admin"),
        ("CN=system:node:node-1", "system:node:node-1"),
        ("CN=system:node:node-1,O=developers", "system:node:node-1"),
        ("CN=system:node:node-1,O=system:nodes,O=developers", "system:node:node-1"),
        ("CN=system:node:node-1\\,O=system:nodes", "system:node:node-1,O=system:nodes"),
        ("CN=system:node:node-1,OU=x\\,O=system:nodes", "system:node:node-1"),
        ("CN=node-1,O=system:nodes", "node-1"),
    ],
)
async def test_other_certificates_of_the_same_authority_are_refused(subject: str, common_name: str) -> None:
    with pytest.raises(UnauthenticatedError, match="not a node's"):
        await Authenticator(None).authenticate(certificate(subject, common_name), [], NODE_1)


async def test_a_bad_certificate_is_not_saved_by_a_good_token() -> None:
    context = certificate("CN=kubernetes-admin,O=system:masters", "kubernetes-admin")
    with pytest.raises(UnauthenticatedError):
        await Authenticator(Reviewer()).authenticate(context, ["Bearer good"], NODE_1)


async def test_tokens_are_refused_where_nobody_reviews_them() -> None:
    with pytest.raises(UnauthenticatedError, match="not accepted"):
        await Authenticator(None).authenticate({}, ["Bearer good"], NODE_1)


def test_identifiers_are_read_as_upstreams_agents_write_them() -> None:
    text = "host=node-1&ipv4=10.0.0.1&ipv4=10.0.0.2&ipv6=fd00%3A%3A1&cidr=10.0.0.0%2F8&default-route=true"
    assert parse_identifiers(text) == Identifiers(("node-1",), ("10.0.0.1", "10.0.0.2", "fd00::1"))
    assert parse_identifiers("") == Identifiers()


@pytest.mark.parametrize("text", ["ipv4=node-2", "ipv6=::g", "ipv4=10.0.0.1%2F8"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UnauthenticatedError):
        parse_identifiers(text)
