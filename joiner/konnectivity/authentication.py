"""Who may be an agent, and for which node.

Two proofs are good, and both name the node, so that no node can take another's traffic:

- a client certificate ``CN=system:node:NAME, O=system:nodes`` of the client CA: what a kubelet has, and what its CSR
  approver gives to nobody else;
- a token of the agent's service account, for the audience `AUDIENCE`, bound to a pod: the API server says in the
  TokenReview on which node that pod runs (KEP-4193, ``authentication.kubernetes.io/node-name``).

What an agent claims in its identifiers must then be that node. Its IP addresses can't be proven (the API server itself
has them from the kubelet only), so an agent may draw dials of an address that is not its own; those are TLS
connections of which kube-apiserver checks the certificate, and any agent could have been drawn for them anyway.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from joiner.konnectivity.dialing import is_ip

AGENT_USER: Final = "system:serviceaccount:kube-system:konnectivity-agent"
REVIEW_LIFETIME: Final = 30.0
"""Seconds for which a token's review is believed: an agent that reconnects in a tight loop costs no more than that."""

_NODE_NAME_CLAIM: Final = "authentication.kubernetes.io/node-name"
_NODE_PREFIX: Final = "system:node:"
_BEARER: Final = "Bearer "

TokenReviewer = Callable[[str], Awaitable[Mapping[str, Any]]]
"""The ``status`` of a TokenReview of this token. Raises what the client raises when there is no answer."""


class UnauthenticatedError(Exception):
    """Not an agent. The text is for the agent's log and says what was wrong, never the secret."""


@dataclass(frozen=True, slots=True)
class Identifiers:
    """What an agent says about itself."""

    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def parse_identifiers(text: str) -> Identifiers:
    """``host=NAME&ipv4=…&ipv6=…``, URL-encoded; other keys are upstream's and mean nothing here.

    :raises UnauthenticatedError: an address that is none
    """
    values = parse_qs(text)
    addresses = tuple(values.get("ipv4", []) + values.get("ipv6", []))
    for address in addresses:
        if not is_ip(address):
            raise UnauthenticatedError(f"agent identifiers: {address!r} is not an IP address")
    return Identifiers(tuple(values.get("host", [])), addresses)


class Authenticator:
    """:param review: asks the API server about a token; None when tokens are not accepted
    :param user: the service account's user name
    :param now: seconds on a clock that does not jump
    """

    def __init__(
        self, review: TokenReviewer | None, *, user: str = AGENT_USER, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._review, self._user, self._now = review, user, now
        self._nodes: dict[bytes, tuple[float, str]] = {}

    async def authenticate(
        self,
        auth_context: Mapping[str, Sequence[bytes]],
        authorization: Sequence[str],
        identifiers: Identifiers,
    ) -> str:
        """The name of the node that the agent stands for.

        :param auth_context: gRPC's, of the connection; it has an x509 subject only if a certificate was verified
        :param authorization: the values of the metadata of that name
        :raises UnauthenticatedError: no proof, or one for another node
        """
        if "x509_common_name" in auth_context:
            node = _node_of_certificate(auth_context)
        else:
            node = await self._node_of_token(_bearer(authorization))
        for host in identifiers.hosts:
            if host != node:
                raise UnauthenticatedError(f"an agent of node {node!r} can't stand for node {host!r}")
        return node

    async def _node_of_token(self, token: str) -> str:
        if self._review is None:
            raise UnauthenticatedError("tokens are not accepted here")
        digest, now = hashlib.sha256(token.encode()).digest(), self._now()
        self._nodes = {key: entry for key, entry in self._nodes.items() if entry[0] > now}
        if digest not in self._nodes:
            node = self._node_of_review(await self._review(token))
            self._nodes[digest] = (now + REVIEW_LIFETIME, node)
        return self._nodes[digest][1]

    def _node_of_review(self, status: Mapping[str, Any]) -> str:
        user = status.get("user", {})
        if not status.get("authenticated"):
            raise UnauthenticatedError("the API server does not know the token")
        if user.get("username") != self._user:
            raise UnauthenticatedError(f"the token is of {user.get('username')!r}, not of {self._user!r}")
        nodes = user.get("extra", {}).get(_NODE_NAME_CLAIM, [])
        if len(nodes) != 1:
            raise UnauthenticatedError("the token is not bound to a pod on a node")
        return str(nodes[0])


def _node_of_certificate(auth_context: Mapping[str, Sequence[bytes]]) -> str:
    names = [name.decode("utf-8", "replace") for name in auth_context["x509_common_name"]]
    subject = b",".join(auth_context.get("x509_subject", [])).decode("utf-8", "replace")
    # RFC 2253, so a comma inside a value is escaped; a subject that this does not split right is refused.
    organizations = [part for part in re.split(r"(?<!\\),", subject) if part.startswith("O=")]
    if len(names) != 1 or not names[0].startswith(_NODE_PREFIX) or organizations != ["O=system:nodes"]:
        raise UnauthenticatedError(f"the certificate of {subject!r} is not a node's")
    return names[0].removeprefix(_NODE_PREFIX)


def _bearer(authorization: Sequence[str]) -> str:
    if len(authorization) != 1 or not authorization[0].startswith(_BEARER):
        raise UnauthenticatedError("neither a client certificate nor one bearer token")
    return authorization[0].removeprefix(_BEARER).strip()
