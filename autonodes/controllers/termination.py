"""The end of a claim: its node is drained, its volumes detached, its machine deleted, its Node removed.

All of it happens between the request to delete the claim and the removal of its finalizer, and each part is looked up
anew on every pass, so that a successor of a killed process goes on wherever this one was. The finalizer goes only when
the provider has said that the machine does not exist. A claim whose status names no machine is not believed: the
provider's list decides, for the purchase may have been made and its record lost. Nor are its conditions: they tell
people how far it is, and anybody may have written them. A process goes by what it has seen itself, so a successor looks
once more whether the node is drained; one that is takes no time.

A drain counts as done by two witnesses, the cache of pods and a list from the API server, and not before
``drain_settle`` seconds have passed since the node was tainted: the scheduler may have bound a pod just before it saw
the taint. A machine that is gone already, with its node not ready, is not drained; nobody is there to do it. Pods that
are left when the provider says that the machine does not exist are deleted by force only if the API server sees no
kubelet either.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from autonodes.api.conditions import ConditionStatus
from autonodes.api.nodeclaim import DRAINED, INSTANCE_TERMINATING, VOLUMES_DETACHED, NodeClaim
from autonodes.api.objects import seconds
from autonodes.controllers.claims import Claims, Mark, deleted_at, shown
from autonodes.controllers.draining import Drain, DrainStatus, holds_drain
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.joining import Joiner
from autonodes.controllers.nodes import Nodes
from autonodes.controllers.providers import Providers
from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.volumes import Volumes
from autonodes.controllers.waiting import Wakeups
from autonodes.core import labels
from autonodes.core.clock import Clock
from autonodes.core.errors import AutonodesError
from autonodes.core.lifecycle import Phase
from autonodes.core.model import Node
from autonodes.kube.backoff import Backoff
from autonodes.kube.errors import ConflictError
from autonodes.kube.events import EventRecorder
from autonodes.provider import MachineNotFoundError, Provider, ProviderID

log = logging.getLogger(__name__)

_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 30.0
"""Seconds between two tries of what fails."""

_OURS: Final = frozenset({labels.TERMINATION_FINALIZER, "foregroundDeletion", "orphan"})
"""Finalizers that go by themselves: the controller's own, and the garbage collector's."""

_TOO_EARLY: Final = "SetTooEarly"
"""Of a condition that says what is not the case yet: not this controller has set it."""

_GRACE_OVER: Final = "TerminationGracePeriodElapsed"


@dataclass(slots=True)
class _End:
    """What this process has seen of a claim's end."""

    drain: Drain
    is_drained: bool = False
    is_detached: bool = False


class Termination:
    def __init__(
        self,
        claims: Claims,
        nodes: Nodes,
        volumes: Volumes,
        providers: Providers,
        joiner: Joiner,
        events: EventRecorder,
        freeze: Freeze,
        *,
        wakeups: Wakeups,
        gate: asyncio.Semaphore,
        clock: Clock,
        settings: ControllerSettings,
    ) -> None:
        self._claims, self._nodes, self._volumes = claims, nodes, volumes
        self._providers, self._joiner, self._events, self._freeze = providers, joiner, events, freeze
        self._wakeups, self._gate, self._clock, self._settings = wakeups, gate, clock, settings

    async def run(self, name: str, uid: str) -> None:
        """Return when nothing is left but the claim and its finalizer, or not even these."""
        end = _End(Drain(self._nodes.client, self._volumes, self._events, self._clock, self._settings))
        backoff = Backoff(_FIRST_RETRY, _LAST_RETRY)
        self._wakeups.register(name)
        while True:
            try:
                async with self._gate:
                    pause = await self._look(name, uid, end)
                backoff.reset()
            except ConflictError:
                pause = 0.1  # somebody wrote in between: look again
            except AutonodesError as error:
                pause = backoff.next()
                log.warning("end of %s: %s; again in %.0f s", name, error, pause)
            except Exception:
                pause = backoff.next()
                log.exception("end of %s: a defect; again in %.0f s", name, pause)
            if pause is None:
                self._wakeups.forget(name)
                return
            await self._wakeups.wait(name, pause)

    async def _look(self, name: str, uid: str, end: _End) -> float | None:
        """One look.

        :return: seconds to the next one at the latest, None when nothing is left
        """
        claim = await self._claims.get(name, uid)
        if claim is None:
            await self._joiner.forget(uid)  # somebody took the finalizer off: garbage collection finds the machine
            return None
        provider = self._providers.of(claim.spec.node_class_ref.to_model())
        machines = await self._machines(claim, provider)
        node = self._nodes.of(claim, machines)
        if node is not None and not await self._is_dead(node, machines, provider):
            claim, pause = await self._vacate(claim, node, end)
            if pause is not None:
                return pause
        if not await self._delete_machines(claim, machines, provider):
            return self._settings.termination_poll
        await self._nodes.release_pods(claim, machines)
        await self._nodes.remove(claim, machines)
        await self._joiner.forget(uid)
        await self._name_who_holds(claim)
        log.info("terminated %s", name)
        return None

    async def _name_who_holds(self, claim: NodeClaim) -> None:
        """Say so if the claim will stay although nothing is left behind it: others have finalizers on it."""
        others = [each for each in claim.metadata.finalizers if each not in _OURS]
        if others:
            held = f"its machine is gone; finalizers of others hold the claim: {', '.join(others)}"
            fresh = await self._claims.get(claim.name, claim.metadata.uid)
            if fresh is not None:
                await self._claims.mark(fresh, Mark(INSTANCE_TERMINATING, "True", "InstanceTerminated", held))

    async def _machines(self, claim: NodeClaim, provider: Provider) -> tuple[ProviderID, ...]:
        if claim.status.provider_id:
            return (ProviderID(claim.status.provider_id),)
        uid = claim.metadata.uid
        return tuple(machine.provider_id for machine in await provider.list() if machine.claim_uid == uid)

    async def _is_dead(self, node: Node, machines: tuple[ProviderID, ...], provider: Provider) -> bool:
        """Neither the kubelet nor the provider says that there is a machine."""
        if node.ready:
            return False
        for machine in machines:
            try:
                await provider.get(machine)
            except MachineNotFoundError:
                continue
            return False
        return True

    async def _vacate(self, claim: NodeClaim, node: Node, end: _End) -> tuple[NodeClaim, float | None]:
        """Drain the node and wait for its volumes.

        :return: the claim, and seconds to the next look; None when the machine may go
        """
        deadline = termination_deadline(claim)
        if deadline is not None:
            claim = await self._claims.annotate(claim, annotations={labels.TERMINATION_TIMESTAMP: shown(deadline)})
        if not end.is_drained:
            claim, pause = await self._drain(claim, node, end.drain, deadline)
            if pause is not None:
                return claim, pause
            end.is_drained = True
        if not end.is_detached:
            claim, pause = await self._detach(claim, node, deadline)
            if pause is not None:
                return claim, pause
            end.is_detached = True
        return claim, None

    async def _drain(
        self, claim: NodeClaim, node: Node, drain: Drain, deadline: float | None
    ) -> tuple[NodeClaim, float | None]:
        self._freeze.check()
        await self._nodes.cordon(node)
        if not claim.condition(DRAINED):
            claim = await self._show(claim, Mark(DRAINED, "Unknown", "Draining", "Draining"))
        status = await drain.step(self._nodes.pods(node.name), deadline)
        if not status.done:
            if status.protected:
                self._nodes.report(node, "FailedDraining", f"Failed to drain node, {status}", type="Warning")
            return await self._contradict(claim, status), status.next_look
        if drain.settling:
            return claim, drain.settling
        if not await self._holding(node):
            return await self._show(claim, Mark(DRAINED)), None
        if not self._is_past(deadline):
            return claim, self._settings.termination_poll
        over = Mark(DRAINED, "True", _GRACE_OVER, "the node's terminationGracePeriod is over, and pods are left on it")
        return await self._show(claim, over), None

    async def _show(self, claim: NodeClaim, mark: Mark) -> NodeClaim:
        """Set a condition, unless a later one is there already."""
        return claim if claim.phase is Phase.INSTANCE_TERMINATING else await self._claims.mark(claim, mark)

    async def _contradict(self, claim: NodeClaim, status: DrainStatus) -> NodeClaim:
        """Say of conditions that somebody set too early that they don't count: they are never taken back."""
        early = [each for each in (DRAINED, INSTANCE_TERMINATING) if claim.condition(each)]
        return await self._claims.mark(
            claim, *(Mark(each, "True", _TOO_EARLY, f"not so, and it does not count: {status}") for each in early)
        )

    async def _holding(self, node: Node) -> bool:
        """Whether the API server knows a pod that still has to leave."""
        now = self._clock.now()
        return any(holds_drain(pod, now) for pod in await self._nodes.pods_now(node.name))

    async def _detach(self, claim: NodeClaim, node: Node, deadline: float | None) -> tuple[NodeClaim, float | None]:
        now = self._clock.now()
        staying = {pod.key for pod in self._nodes.pods(node.name) if not holds_drain(pod, now)}
        attached = await self._volumes.attached(node.name, staying=staying)
        if not attached:
            return await self._show(claim, Mark(VOLUMES_DETACHED)), None
        if self._is_past(deadline):
            over = Mark(VOLUMES_DETACHED, "False", _GRACE_OVER, f"attached: {', '.join(attached)}")
            return claim if claim.condition(VOLUMES_DETACHED) else await self._show(claim, over), None
        message = f"waiting for volumes to be detached: {', '.join(attached)}"
        self._nodes.report(node, "AwaitingVolumeDetachment", message)
        status: ConditionStatus = "True" if claim.condition(VOLUMES_DETACHED) else "Unknown"
        waiting = Mark(VOLUMES_DETACHED, status, "AwaitingVolumeDetachment", message)
        return await self._show(claim, waiting), self._settings.termination_poll

    async def _delete_machines(self, claim: NodeClaim, machines: tuple[ProviderID, ...], provider: Provider) -> bool:
        """Go on with the removal.

        :raises FrozenError: another controller may act by now
        :return: whether the provider says that none of them exists
        """
        self._freeze.check()
        left = [machine for machine in machines if not await _is_deleted(machine, provider)]
        if left:
            await self._claims.mark(claim, Mark(INSTANCE_TERMINATING))
        return not left

    def _is_past(self, deadline: float | None) -> bool:
        return deadline is not None and self._clock.now() >= deadline


async def _is_deleted(machine: ProviderID, provider: Provider) -> bool:
    try:
        await provider.delete(machine)
    except MachineNotFoundError:
        return True
    return False


def termination_deadline(claim: NodeClaim) -> float | None:
    """When the machine goes, drained or not: its grace period after the request to delete it, or what the annotation
    says, if that is sooner. None: it is waited for as long as it takes. Seconds since the epoch."""
    grace = seconds(claim.spec.termination_grace_period, path="spec.terminationGracePeriod")
    asked = deleted_at(claim)
    moments = [asked + grace] if asked is not None and grace is not None else []
    annotated = claim.metadata.annotations.get(labels.TERMINATION_TIMESTAMP)
    if annotated:
        try:
            read = datetime.fromisoformat(annotated)
            moments.append((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp())
        except ValueError:
            log.warning("%s: %s is no time: %r", claim.name, labels.TERMINATION_TIMESTAMP, annotated)
    return min(moments, default=None)
