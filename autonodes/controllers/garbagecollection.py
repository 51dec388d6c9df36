"""Finding what lost its counterpart, every two minutes and at the start.

Three kinds, each destroyed only on two witnesses:

- A registered claim whose machine is gone: the provider's list lacks it *and* its own answer to a question about that
  machine is "not found", and the node is not ready. The claim is deleted.
- A machine without a claim: older than the grace time, and a list of all claims that was made *after* the machine was
  seen lacks it (a claim is always written before its machine is bought). A second machine for a claim whose status
  names the first is one, too. The machine is deleted.
- A Node of ours, registered or still to be, without a claim: no machine answers to its provider id, and the node is not
  ready. The Node is deleted.

The caches only name suspects; nothing is concluded from them, nor from a list that failed: then the round is off for
that provider.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Final

import msgspec

from autonodes.api.nodeclaim import REGISTERED, NodeClaim
from autonodes.controllers.claims import Claims, deleted_at
from autonodes.controllers.nodes import Nodes
from autonodes.controllers.providers import GROUP, Providers
from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.waiting import wait_for_event
from autonodes.core import labels
from autonodes.core.clock import Clock
from autonodes.core.errors import AutonodesError
from autonodes.core.model import Node
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import ConflictError, NotFoundError
from autonodes.kube.resources import NODECLAIMS, NODES
from autonodes.provider import Machine, MachineNotFoundError, Provider, ProviderID

log = logging.getLogger(__name__)

_RETRY: Final = 10.0
"""Seconds to the next round after one in which something could not be counted."""


_NOBODY: Final = "nobody"
"""Stands for the machine of a claim that does not exist."""


class _Metadata(msgspec.Struct):
    uid: str


class _Status(msgspec.Struct):
    provider_id: str = msgspec.field(default="", name="providerID")


class _Claim(msgspec.Struct):
    """As little of a NodeClaim as a list of all of them needs to keep."""

    metadata: _Metadata
    status: _Status = msgspec.field(default_factory=_Status)


_decode = msgspec.json.Decoder(_Claim).decode


class GarbageCollection:
    def __init__(
        self,
        client: KubeClient,
        state: ClusterState,
        claims: Claims,
        nodes: Nodes,
        providers: Providers,
        *,
        clock: Clock,
        settings: ControllerSettings,
    ) -> None:
        self._client, self._state = client, state
        self._claims, self._nodes, self._providers = claims, nodes, providers
        self._clock, self._settings = clock, settings
        self._wanted = asyncio.Event()

    def trigger(self) -> None:
        """Don't wait for the next round."""
        self._wanted.set()

    async def run(self) -> None:
        """Round after round, until cancelled."""
        while True:
            self._wanted.clear()
            complete = await self.collect()
            pause = self._settings.collection_interval if complete else _RETRY
            await wait_for_event(self._wanted, pause, self._clock)

    async def collect(self) -> bool:
        """One round.

        :return: whether everything could be counted and nothing is left to be looked at soon
        """
        done = [await self._attempt(self._of_provider(provider)) for provider in self._providers.all()]
        return all([*done, await self._attempt(self._nodes_without_claim())])

    async def _attempt(self, work: Awaitable[bool]) -> bool:
        try:
            return await work
        except AutonodesError as error:
            log.warning("garbage collection rests: %s", error)
        except Exception:
            log.exception("garbage collection: a defect")
        return False

    async def _of_provider(self, provider: Provider) -> bool:
        machines = await provider.list()  # strictly before the claims
        claimed = await self._claimed()
        await self._claims_without_machine(provider, {machine.provider_id for machine in machines})
        return await self._machines_without_claim(provider, machines, claimed)

    async def _claimed(self) -> dict[str, str]:
        """UID of each claim that the API server has → the machine in its status, or ""."""
        pages = self._client.pages(NODECLAIMS)
        claims = [_decode(raw) async for page in pages for raw in page.items or ()]
        return {claim.metadata.uid: claim.status.provider_id for claim in claims}

    async def _claims_without_machine(self, provider: Provider, present: Collection[str]) -> None:
        for suspect in tuple(self._state.nodeclaims.items.values()):
            if not _lacks_machine(suspect, provider, present):
                continue
            claim = await self._claims.get(suspect.name, suspect.metadata.uid)
            if claim is None or not _lacks_machine(claim, provider, present):
                continue
            gone = await _is_gone(provider, ProviderID(claim.status.provider_id))
            if gone and not await self._is_ready(claim.name):
                log.warning("%s: its machine %s is gone", claim.name, claim.status.provider_id)
                await self._claims.end(claim, "MachineGone", "its machine does not exist any more")

    async def _is_ready(self, node_name: str) -> bool:
        """Whether its kubelet says so, and was heard lately."""
        try:
            node = await self._client.get(NODES, node_name)
        except NotFoundError:
            return False
        conditions = (node.get("status") or {}).get("conditions") or ()
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    async def _machines_without_claim(
        self, provider: Provider, machines: Sequence[Machine], claimed: Mapping[str, str]
    ) -> bool:
        newest = self._clock.now() - self._settings.collection_grace
        orphans = [
            machine
            for machine in machines
            if machine.created_at < newest and claimed.get(machine.claim_uid, _NOBODY) not in ("", machine.provider_id)
        ]
        for machine in orphans:
            log.warning("machine %s of claim %s has no claim: it is deleted", machine.provider_id, machine.claim_name)
            self._claims.decisions.ending(machine.provider_id, "NoNodeClaim", f"it was claim {machine.claim_name}'s")
            with contextlib.suppress(MachineNotFoundError):
                await provider.delete(machine.provider_id)
        return not orphans

    async def _nodes_without_claim(self) -> bool:
        suspects = [
            node
            for node in tuple(self._state.nodes.items.values())
            if _is_ours(node) and not node.ready and self._state.nodeclaims.get(node.name) is None
        ]
        for node in suspects:
            if await self._is_abandoned(node):
                log.warning("node %s has neither claim nor machine: it is deleted", node.name)
                self._claims.decisions.ending(node.name, "NoMachine", "neither a claim nor a machine is behind it")
                with contextlib.suppress(ConflictError):
                    await self._nodes.delete(node.name, uid=node.uid)
        return not suspects

    async def _is_abandoned(self, node: Node) -> bool:
        with contextlib.suppress(NotFoundError):
            await self._client.get(NODECLAIMS, node.name)
            return False
        gone = [await _is_gone(provider, ProviderID(node.provider_id)) for provider in self._providers.all()]
        return bool(gone) and all(gone) and not await self._is_ready(node.name)


def _is_ours(node: Node) -> bool:
    return labels.REGISTERED in node.labels or any(taint.key == labels.UNREGISTERED_TAINT for taint in node.taints)


def _lacks_machine(claim: NodeClaim, provider: Provider, present: Collection[str]) -> bool:
    ref = claim.spec.node_class_ref
    return (
        (ref.group, ref.kind) == (GROUP, provider.node_class_kind)
        and claim.condition(REGISTERED)
        and deleted_at(claim) is None
        and claim.status.provider_id not in present
    )


async def _is_gone(provider: Provider, provider_id: ProviderID) -> bool:
    try:
        await provider.get(provider_id)
    except MachineNotFoundError:
        return True
    return False
