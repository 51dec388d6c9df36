"""Bootstrap tokens: one for each claim, short-lived, good for nothing but that claim's first certificate.

A token is a Secret in ``kube-system`` as kube-apiserver's token authenticator reads it
(https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/). Its label names the claim's UID and its
annotation the claim's name; the approver of certificates (`joiner.csr`) ties the request to them. The token's *id* is
derived from the claim's UID, so that two launches of one claim, one of them after a crash, meet at the same Secret; its
secret part is random.

It ends by whichever comes first: `BootstrapTokens.revoke` after the node has registered, the garbage collector when the
claim is gone (the claim owns it), or its expiration.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from autonodes.core.clock import Clock
from autonodes.core.labels import CLAIM_UID
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from autonodes.kube.resources import NODECLAIMS, SECRETS

LIFETIME: Final = 15 * 60.0
"""Seconds: as long as a claim may take to register before it is given up (Karpenter's registration timeout)."""
NAMESPACE: Final = "kube-system"
GROUP: Final = "system:bootstrappers:autonodes"
"""What a machine is until it has a certificate; the bootstrap add-on lets this group create certificate requests."""
CLAIM_NAME: Final = "autonodes.io/claim-name"

_TYPE: Final = "bootstrap.kubernetes.io/token"
_ALPHABET: Final = string.ascii_lowercase + string.digits
_ATTEMPTS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapToken:
    """:param expires_at: seconds since the epoch"""

    id: str
    secret: str = field(repr=False)
    claim_name: str
    claim_uid: str
    expires_at: float

    @property
    def value(self) -> str:
        """``id.secret``, as a kubeconfig holds it. Never log it."""
        return f"{self.id}.{self.secret}"


class BootstrapTokens:
    """:param lifetime: seconds from the last `issue` on"""

    def __init__(self, client: KubeClient, clock: Clock, *, lifetime: float = LIFETIME) -> None:
        self._client, self._clock, self._lifetime = client, clock, lifetime

    async def issue(self, *, claim_name: str, claim_uid: str) -> BootstrapToken:
        """The claim's live token; made, or made to last longer, if need be. May be repeated, also concurrently.

        :raises ApiError: the Secret could not be read or written
        """
        number = 0
        for _ in range(_ATTEMPTS):
            token_id = _token_id(claim_uid, number)
            with contextlib.suppress(AlreadyExistsError, NotFoundError, ConflictError):
                return await self._reuse_or_create(token_id, claim_name, claim_uid)
            if await self._is_taken(token_id, claim_uid):
                number += 1
        raise ApiError(f"no bootstrap token could be made for claim {claim_name}: its Secret keeps changing")

    async def revoke(self, claim_uid: str) -> None:
        """Delete the claim's token; nothing happens if there is none."""
        selector = f"{CLAIM_UID}={claim_uid}"
        for secret in await self._client.list(SECRETS, NAMESPACE, label_selector=selector):
            await self._delete(secret)

    async def find(self, token_id: str) -> BootstrapToken | None:
        """A token by its id, also an expired one; None if it is not there or not a claim's."""
        with contextlib.suppress(NotFoundError):
            return _read(await self._client.get(SECRETS, _secret_name(token_id), NAMESPACE))
        return None

    async def _reuse_or_create(self, token_id: str, claim_name: str, claim_uid: str) -> BootstrapToken:
        """:raises ConflictError: another claim's, or it changed meanwhile"""
        try:
            secret = await self._client.get(SECRETS, _secret_name(token_id), NAMESPACE)
        except NotFoundError:
            return await self._create(token_id, claim_name, claim_uid)
        token = _read(secret)
        if _label(secret) != claim_uid:
            raise ConflictError(f"bootstrap token {token_id} belongs to another claim")
        if token is None or token.expires_at <= self._clock.now():
            await self._delete(secret)
            return await self._create(token_id, claim_name, claim_uid)
        if token.expires_at - self._clock.now() < self._lifetime / 2:
            return await self._extend(secret, token)
        return token

    async def _create(self, token_id: str, claim_name: str, claim_uid: str) -> BootstrapToken:
        token = BootstrapToken(
            id=token_id,
            secret="".join(secrets.choice(_ALPHABET) for _ in range(16)),
            claim_name=claim_name,
            claim_uid=claim_uid,
            expires_at=self._clock.now() + self._lifetime,
        )
        await self._client.create(SECRETS, _manifest(token))
        return token

    async def _extend(self, secret: Object, token: BootstrapToken) -> BootstrapToken:
        """A launch that is repeated: the machine that may already hold the token gets its time, too."""
        expires_at = self._clock.now() + self._lifetime
        patch = {
            "metadata": {"resourceVersion": secret["metadata"]["resourceVersion"]},
            "stringData": {"expiration": _timestamp(expires_at)},
        }
        written = await self._client.merge_patch(SECRETS, secret["metadata"]["name"], patch, NAMESPACE)
        return _read(written) or token

    async def _delete(self, secret: Object) -> None:
        metadata = secret["metadata"]
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._client.delete(SECRETS, metadata["name"], NAMESPACE, uid=metadata["uid"])

    async def _is_taken(self, token_id: str, claim_uid: str) -> bool:
        with contextlib.suppress(NotFoundError):
            return _label(await self._client.get(SECRETS, _secret_name(token_id), NAMESPACE)) != claim_uid
        return False


def _token_id(claim_uid: str, number: int) -> str:
    """Six characters of the claim's UID; ``number`` counts up when another claim has the same ones (1 in 2·10⁹)."""
    digest = int.from_bytes(hashlib.sha256(f"{claim_uid}/{number}".encode()).digest())
    characters = []
    for _ in range(6):
        digest, index = divmod(digest, len(_ALPHABET))
        characters.append(_ALPHABET[index])
    return "".join(characters)


def _secret_name(token_id: str) -> str:
    return f"bootstrap-token-{token_id}"


def _label(secret: Object) -> str:
    label: str = (secret["metadata"].get("labels") or {}).get(CLAIM_UID, "")
    return label


def _manifest(token: BootstrapToken) -> Object:
    owner = {
        "apiVersion": NODECLAIMS.api_version,
        "kind": NODECLAIMS.kind,
        "name": token.claim_name,
        "uid": token.claim_uid,
    }
    return {
        "type": _TYPE,
        "metadata": {
            "name": _secret_name(token.id),
            "namespace": NAMESPACE,
            "labels": {CLAIM_UID: token.claim_uid},
            "annotations": {CLAIM_NAME: token.claim_name},
            "ownerReferences": [owner],
        },
        "stringData": {
            "token-id": token.id,
            "token-secret": token.secret,
            "expiration": _timestamp(token.expires_at),
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": GROUP,
            "description": f"autonodes: the first certificate of node {token.claim_name}",
        },
    }


def _read(secret: Mapping[str, Any]) -> BootstrapToken | None:
    """None for a Secret that is not a claim's token, or no longer a whole one."""
    metadata, data = secret["metadata"], secret.get("data") or {}
    name, uid = (metadata.get("annotations") or {}).get(CLAIM_NAME), (metadata.get("labels") or {}).get(CLAIM_UID)
    if secret.get("type") != _TYPE or not name or not uid:
        return None
    try:
        token_id, token_secret, expiration = (
            base64.b64decode(data[key]).decode() for key in ("token-id", "token-secret", "expiration")
        )
        expires_at = datetime.fromisoformat(expiration).timestamp()
    except (KeyError, ValueError, binascii.Error):
        return None
    return BootstrapToken(id=token_id, secret=token_secret, claim_name=name, claim_uid=uid, expires_at=expires_at)


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
