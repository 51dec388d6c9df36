"""The approver of nodes' certificates: watches requests, looks up what they claim to be, writes the decision.

Only the kubelets' two signers are looked at. The decision itself is `joiner.certificates.decide`; this module gathers
what it needs with direct reads, never from a cache: a claim deleted a moment ago must not get a certificate. What can't
be looked up now is tried again, with growing pauses, and the request stays pending meanwhile.

Addresses of a serving certificate come from whoever made the machine, if that is known: a node writes the addresses in
its own status itself. Without such a source its status is believed, without addresses that are never one machine's own
(loopback, link-local, multicast).

Kubernetes' own approver must be off (``--controllers=*,-certificatesigningrequest-approving-controller``), or it
approves what is refused here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec

from autonodes.core.clock import Clock
from autonodes.core.errors import AutonodesError
from autonodes.kube.backoff import Backoff
from autonodes.kube.cache import Cache, Change
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.errors import ConflictError, NotFoundError
from autonodes.kube.resources import CSRS, NODECLAIMS, NODES, Resource
from joiner.certificates import (
    CLIENT_SIGNER,
    SERVING_SIGNER,
    Address,
    ClaimFacts,
    Content,
    Decision,
    Facts,
    Requester,
    TokenFacts,
    decide,
    node_name,
)
from joiner.tokens import BootstrapTokens

MachineAddresses = Callable[[str], Awaitable[Collection[str] | None]]
"""Node name → the addresses of its machine; None when they are not known (yet)."""

_PARALLEL: Final = 16
"""Requests that are looked up at the same time; a hundred nodes may join at once."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningRequest:
    """A CertificateSigningRequest. Of one that is decided only the name is kept."""

    name: str
    resource_version: str
    created_at: float
    requester: Requester
    pem: bytes = field(repr=False)
    decided: bool = False


class CertificateApprover:
    """:param addresses: who knows the machines' addresses, e.g. by asking the provider"""

    def __init__(
        self,
        client: KubeClient,
        clock: Clock,
        *,
        tokens: BootstrapTokens | None = None,
        addresses: MachineAddresses | None = None,
    ) -> None:
        self._client, self._clock, self._addresses = client, clock, addresses
        self._tokens = tokens or BootstrapTokens(client, clock)
        self._caches = [
            Cache(client, CSRS, decode_signing_request, clock, field_selector=f"spec.signerName={signer}")
            for signer in (CLIENT_SIGNER, SERVING_SIGNER)
        ]
        self._deciding: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_PARALLEL)
        for cache in self._caches:
            cache.subscribe(self._changed)

    async def run(self) -> None:
        """Decide on every pending request, within milliseconds of its arrival; until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for cache in self._caches:
                    group.create_task(cache.run())
        finally:
            for task in list(self._deciding.values()):
                task.cancel()
            await asyncio.gather(*self._deciding.values(), return_exceptions=True)

    def _changed(self, change: Change[SigningRequest]) -> None:
        running = self._deciding.get(change.key)
        if change.new is None:
            if running is not None:
                del self._deciding[change.key]
                running.cancel()
        elif running is None and not change.new.decided:
            task = asyncio.create_task(self._settle(change.new.name))
            self._deciding[change.key] = task
            task.add_done_callback(lambda _: self._settled(change.key, task))

    def _settled(self, key: str, task: asyncio.Task[None]) -> None:
        if self._deciding.get(key) is task:  # not if a new request of that name has taken its place
            del self._deciding[key]

    def _pending(self, name: str) -> SigningRequest | None:
        found = next((request for cache in self._caches if (request := cache.get(name)) is not None), None)
        return None if found is None or found.decided else found

    async def _settle(self, name: str) -> None:
        backoff = Backoff(0.25, 5.0)
        while (request := self._pending(name)) is not None:
            try:
                async with self._slots:
                    decision = await self._decide(request)
                if decision.verdict != "wait":
                    await self._write(request, decision)
                    return
            except ConflictError:
                _log.debug("certificate request %s changed meanwhile", name)
            except AutonodesError as error:
                _log.warning("certificate request %s can't be decided now: %s", name, error)
            except Exception:
                _log.exception("certificate request %s can't be decided", name)
            await self._clock.sleep(backoff.next())

    async def _decide(self, request: SigningRequest) -> Decision:
        try:
            content = Content.parse(request.pem)
        except ValueError as error:
            return Decision("deny", "MalformedRequest", f"not a certificate request: {error}")
        return decide(request.requester, content, await self._facts(request, content))

    async def _facts(self, request: SigningRequest, content: Content) -> Facts:
        requester, name, now = request.requester, node_name(content), self._clock.now()
        serving = requester.signer == SERVING_SIGNER and bool(content.addresses)
        return Facts(
            token=await self._token(requester.token_id, now) if requester.token_id else None,
            claim=await self._claim(name) if name else None,
            addresses=await self._addresses_of(name) if serving and name else None,
            age=now - request.created_at,
        )

    async def _token(self, token_id: str, now: float) -> TokenFacts | None:
        token = await self._tokens.find(token_id)
        if token is None:
            return None
        return TokenFacts(claim_name=token.claim_name, claim_uid=token.claim_uid, expired=token.expires_at <= now)

    async def _claim(self, name: str) -> ClaimFacts | None:
        claim = await self._look_up(NODECLAIMS, name)
        if claim is None:
            return None
        metadata = claim["metadata"]
        return ClaimFacts(name=metadata["name"], uid=metadata["uid"], deleting="deletionTimestamp" in metadata)

    async def _addresses_of(self, name: str) -> frozenset[Address] | None:
        known = await self._addresses(name) if self._addresses is not None else None
        if known is not None:
            return frozenset(map(ipaddress.ip_address, known)) or None
        node = await self._look_up(NODES, name)
        reported = (node or {}).get("status", {}).get("addresses") or ()
        return _believable(each["address"] for each in reported if each["type"] in ("InternalIP", "ExternalIP"))

    async def _look_up(self, resource: Resource, name: str) -> Object | None:
        try:
            return await self._client.get(resource, name)
        except NotFoundError:
            return None

    async def _write(self, request: SigningRequest, decision: Decision) -> None:
        condition = {
            "type": "Approved" if decision.verdict == "approve" else "Denied",
            "status": "True",
            "reason": decision.reason,
            "message": decision.message,
            "lastUpdateTime": datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        patch = {
            "metadata": {"resourceVersion": request.resource_version},
            "status": {"conditions": [condition]},
        }
        with contextlib.suppress(NotFoundError):  # withdrawn meanwhile
            await self._client.merge_patch(CSRS, request.name, patch, subresource="approval")
        level = logging.INFO if decision.verdict == "approve" else logging.WARNING
        _log.log(level, "certificate request %s: %s: %s", request.name, decision.reason, decision.message)


def _believable(addresses: Iterable[str]) -> frozenset[Address] | None:
    parsed = frozenset(map(ipaddress.ip_address, addresses))
    return frozenset(a for a in parsed if not (a.is_loopback or a.is_link_local or a.is_multicast)) or None


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    resource_version: str
    creation_timestamp: datetime


class _Spec(msgspec.Struct, rename="camel"):
    request: bytes
    signer_name: str
    username: str = ""
    groups: list[str] | None = None
    usages: list[str] | None = None


class _Condition(msgspec.Struct):
    type: str


class _Status(msgspec.Struct):
    conditions: list[_Condition] | None = None


class _Object(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)


_decode_object = msgspec.json.Decoder(_Object).decode


def decode_signing_request(raw: bytes) -> SigningRequest:
    """From an object's JSON; ``decided`` once it is approved, denied or failed."""
    read = _decode_object(raw)
    decided = any(each.type in ("Approved", "Denied", "Failed") for each in read.status.conditions or ())
    return SigningRequest(
        name=read.metadata.name,
        resource_version=read.metadata.resource_version,
        created_at=read.metadata.creation_timestamp.timestamp(),
        requester=Requester(
            username=read.spec.username,
            groups=frozenset(read.spec.groups or ()),
            signer=read.spec.signer_name,
            usages=frozenset(read.spec.usages or ()),
        ),
        pem=b"" if decided else read.spec.request,
        decided=decided,
    )
