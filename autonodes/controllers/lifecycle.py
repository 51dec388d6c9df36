"""The life of a claim up to its deletion: launch, registration, initialization, each when the one before is done.

One task a claim. It looks at the API server's copy, does the next step, and sleeps until something happens to the claim
or its node, or a deadline is near. A step that fails is repeated with growing pauses; nothing but the claim's end makes
the task end. A quiet claim (initialized, its node there) costs no request, nor does the look that a claim's own last
write brings about: the copy that came back with the write is still the newest.

A few claims are looked at at a time, however many there are: the rest of the program shares the event loop.

Deleting a Node means to have neither it nor its machine: its claim is deleted, and `termination` does the rest.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from autonodes.api.nodeclaim import REGISTERED, NodeClaim
from autonodes.controllers.claims import Claims, deleted_at
from autonodes.controllers.liveness import Liveness
from autonodes.controllers.waiting import Wakeups
from autonodes.core.clock import Clock
from autonodes.core.errors import AutonodesError
from autonodes.core.lifecycle import Phase
from autonodes.kube.backoff import Backoff
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import ConflictError, NotFoundError
from autonodes.kube.resources import NODES

log = logging.getLogger(__name__)

_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 60.0
"""Seconds between two tries of a step that fails."""

_RESYNC: Final = 300.0
"""Seconds between two looks when nothing happens: the net under lost wake-ups."""


class Step(Protocol):
    async def run(self, claim: NodeClaim) -> NodeClaim:
        """Do what is to be done now, if anything, and return the claim as it is then. May be repeated at any time."""
        ...


class Gated:
    """A step that is taken for a few claims at a time."""

    def __init__(self, step: Step, gate: asyncio.Semaphore) -> None:
        self._step, self._gate = step, gate

    async def run(self, claim: NodeClaim) -> NodeClaim:
        async with self._gate:
            return await self._step.run(claim)


class Lifecycle:
    """:param steps: in order; each checks for itself whether it is its turn
    :param gate: bounds how many claims are looked at at a time
    """

    def __init__(
        self,
        claims: Claims,
        client: KubeClient,
        state: ClusterState,
        *,
        steps: tuple[Step, ...],
        liveness: Liveness,
        wakeups: Wakeups,
        gate: asyncio.Semaphore,
        clock: Clock,
    ) -> None:
        self._claims, self._client, self._state, self._clock = claims, client, state, clock
        self._steps, self._liveness, self._wakeups, self._gate = steps, liveness, wakeups, gate
        self._newest: dict[str, NodeClaim] = {}

    async def live(self, name: str, uid: str, stopping: asyncio.Event) -> None:
        """Return when the claim is gone or being deleted, or after the step at which ``stopping`` was set."""
        backoff = Backoff(_FIRST_RETRY, _LAST_RETRY)
        self._wakeups.register(name)
        while not stopping.is_set():
            try:
                pause = await self._look(name, uid)
                backoff.reset()
            except ConflictError:
                self._newest.pop(uid, None)
                pause = 0.1  # somebody wrote in between: look again
            except AutonodesError as error:
                pause = backoff.next()
                log.warning("%s: %s; again in %.0f s", name, error, pause)
            except Exception:
                pause = backoff.next()
                log.exception("%s: a defect; again in %.0f s", name, pause)
            if pause is None:
                break
            await self._wakeups.wait(name, pause)
        self._newest.pop(uid, None)

    async def _look(self, name: str, uid: str) -> float | None:
        """One look.

        :return: seconds to the next one at the latest, None if the claim's life is over
        """
        if self._is_quiet(name, uid):
            return _RESYNC
        async with self._gate:
            claim = await self._get(name, uid)
            if claim is None or deleted_at(claim) is not None:
                return None
            if await self._liveness.enforce(claim) or await self._follow_node(claim):
                return _RESYNC
        for step in self._steps:
            claim = await step.run(claim)
            self._newest[uid] = claim
        deadline = self._liveness.deadline(claim)
        return _RESYNC if deadline is None else max(0.0, min(_RESYNC, deadline.at - self._clock.now()))

    async def _get(self, name: str, uid: str) -> NodeClaim | None:
        """The copy that the last step left, if the cache knows of no other since; else the API server's."""
        newest, cached = self._newest.get(uid), self._state.nodeclaims.get(name)
        if newest is not None and cached is not None:
            version = newest.metadata.resource_version
            if cached.metadata.uid == uid and cached.metadata.resource_version == version:
                return newest
        return await self._claims.get(name, uid)

    def _is_quiet(self, name: str, uid: str) -> bool:
        claim, node = self._state.nodeclaims.get(name), self._state.nodes.get(name)
        return (
            claim is not None
            and claim.metadata.uid == uid
            and deleted_at(claim) is None
            and claim.phase is Phase.READY
            and node is not None
            and node.deleted_at is None
        )

    async def _follow_node(self, claim: NodeClaim) -> bool:
        """Delete the claim if its node is being deleted or gone; of that, the cache is not witness enough."""
        if not claim.condition(REGISTERED):
            return False
        node = self._state.nodes.get(claim.name)
        if node is not None and node.deleted_at is None:
            return False
        try:
            if not (await self._client.get(NODES, claim.name))["metadata"].get("deletionTimestamp"):
                return False
        except NotFoundError:
            log.warning("%s: its node was deleted", claim.name)
        await self._claims.end(claim, "NodeDeleted", "its node was deleted")
        return True
