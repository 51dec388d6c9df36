"""Emptying a node: its pods leave by the Eviction API, in four groups, one after the other.

The order is that of a graceful node shutdown: first what is not critical, then its daemons, then critical pods, then
critical daemons, so that DNS and the CNI's agents serve the others to the end. A group is evicted together; the next
one waits until the last pod of it is gone. A PodDisruptionBudget's "not now" is asked again with growing pauses; each
pod has its own.

Pods with volumes of a PersistentVolumeClaim leave one by one: the next one is evicted when the one before is gone and
what only it used is detached (no VolumeAttachment is left), so that a storage system is not asked for more than it can
do and each pod's successor starts soon. A volume that does not come off holds the others up for `_DETACHING` seconds.

The only pod of a workload may ask that its successor runs before it is evicted (`surging`).

Not drained are static pods (nobody can evict them), pods that tolerate the ``karpenter.sh/disrupted`` taint (they want
to stay, like most CNI and CSI daemons) and pods that ought to have been gone for long: on a dead node nobody confirms a
deletion, and the machine itself must go. ``do-not-disrupt`` keeps a node from being chosen, not from being drained.

With a deadline (``terminationGracePeriod``), a pod is deleted, budgets or not, so early that its own grace period ends
at the deadline; past it nothing is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.surging import Surging
from autonodes.controllers.volumes import Volumes
from autonodes.core import labels
from autonodes.core.clock import Clock
from autonodes.core.disruptability import stuck
from autonodes.core.model import Pod, Taint
from autonodes.core.taints import untolerated
from autonodes.kube.backoff import Backoff
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import ConflictError, ForbiddenError, NotFoundError, ServerError, TooManyRequestsError
from autonodes.kube.events import EventRecorder, ObjectReference
from autonodes.kube.resources import PODS

log = logging.getLogger(__name__)

MIRROR_POD: Final = "kubernetes.io/config.mirror"
"""Annotation of the API server's image of a static pod."""

DISRUPTED: Final = Taint(labels.DISRUPTED_TAINT, "", "NoSchedule")

CRITICAL_PRIORITY: Final = 2_000_000_000
"""``system-cluster-critical``, the lower of the two critical classes (KEP-268)."""

_LONGEST_PAUSE: Final = 10.0
"""Seconds between two looks at a drain in which nothing moves."""

_DETACHING: Final = 120.0
"""Seconds that the pods with volumes wait for one that does not come off; Gardener's ``pvDetachTimeout``."""

_DETACH_POLL: Final = 1.0
"""Seconds between two looks at the attachments."""

_AT_ONCE: Final = 16
"""Evictions of one node in flight; the API server has more to do than this drain."""


@dataclass(frozen=True, slots=True)
class DrainStatus:
    """:param waiting_for: pods that still have to leave, by ``namespace/name``
    :param protected: those of them that a budget protects now
    :param next_look: seconds after which something may be tried again, if no pod changes before
    """

    waiting_for: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    next_look: float = 1.0

    @property
    def done(self) -> bool:
        return not self.waiting_for

    def __str__(self) -> str:
        shown = ", ".join(self.waiting_for[:5]) + (", …" if len(self.waiting_for) > 5 else "")
        held = f", {len(self.protected)} of them protected by a PodDisruptionBudget" if self.protected else ""
        return f"{len(self.waiting_for)} pods are waiting to be evicted{held}: {shown}"


def is_critical(pod: Pod) -> bool:
    return pod.priority >= CRITICAL_PRIORITY


def is_static(pod: Pod) -> bool:
    """A mirror pod of a manifest on the node's disk: kubectl knows it by its annotation, and so does this; the kubelet
    also makes its node the owner."""
    return pod.owner_kind == "Node" or MIRROR_POD in pod.annotations


def holds_drain(pod: Pod, now: float) -> bool:
    """Whether a drain waits for this pod to leave."""
    tolerates = untolerated((DISRUPTED,), pod.tolerations) is None
    return not (pod.terminal or is_static(pod) or tolerates or stuck(pod, now))


def first_group(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """The pods whose turn it is."""
    groups: dict[tuple[bool, bool], list[Pod]] = {}
    for pod in pods:
        groups.setdefault((is_critical(pod), pod.owner_kind == "DaemonSet"), []).append(pod)
    return tuple(groups[min(groups)]) if groups else ()


class Drain:
    """The draining of one node; it remembers only when which pod is to be tried again, and since when a volume hangs.

    :param volumes: of the cluster, to know what is still attached
    """

    def __init__(
        self, client: KubeClient, volumes: Volumes, events: EventRecorder, clock: Clock, settings: ControllerSettings
    ) -> None:
        self._client, self._volumes, self._events = client, volumes, events
        self._surging = Surging(client, clock)
        self._surged: set[str] = set()
        self._clock, self._settings = clock, settings
        self._hanging_since: float | None = None
        self._backoffs: dict[str, Backoff] = {}
        self._started_at: float | None = None
        self._not_before: dict[str, float] = {}

    async def step(self, pods: Iterable[Pod], deadline: float | None) -> DrainStatus:
        """Evict whom it is time to evict.

        :param pods: all pods of the node
        :param deadline: when the node goes, drained or not (seconds since the epoch)
        :raises ApiUnreachableError: the API server can't be asked
        """
        now = self._clock.now()
        self._started_at = self._started_at or now
        present = [pod for pod in pods if not pod.terminal]
        staying = [pod for pod in present if holds_drain(pod, now)]
        if deadline is not None:
            if now >= deadline:
                return DrainStatus()
            late = [pod for pod in staying if _must_go(pod, now, deadline)]
            await self._each(late, lambda pod: self._delete(pod, deadline - now))
        group = first_group(staying)
        free = [pod for pod in group if not pod.volumes]
        turn = await self._turn([pod for pod in group if pod.volumes], present)
        due = [pod for pod in (*free, *turn) if pod.deleted_at is None and self._not_before.get(pod.uid, 0.0) <= now]
        await self._each(due, self._evict)
        return self._status(staying, now, deadline)

    async def _turn(self, pods: Sequence[Pod], present: Sequence[Pod]) -> Sequence[Pod]:
        """Of the pods with volumes, the one to be evicted now, if any.

        One that its budget protects lets the next one try. What is still attached and nobody's is that of a pod
        that has left.

        :param present: all pods of the node that have not ended
        """
        now = self._clock.now()
        if any(pod.deleted_at is not None for pod in pods):
            self._hanging_since = None
            return ()
        if not pods or not await self._volumes.attached(present[0].node_name, staying={pod.key for pod in present}):
            self._hanging_since = None
        else:
            self._hanging_since = self._hanging_since or now
            if now < self._hanging_since + _DETACHING:
                return ()
        ready = [pod for pod in pods if self._not_before.get(pod.uid, 0.0) <= now]
        return sorted(ready, key=lambda pod: (-len(pod.volumes), pod.key))[:1]

    @property
    def settling(self) -> float:
        """Seconds until its first `step` is ``drain_settle`` seconds ago."""
        now = self._clock.now()
        return max(0.0, (self._started_at or now) + self._settings.drain_settle - now)

    async def _each(self, pods: Sequence[Pod], act: Callable[[Pod], Awaitable[None]]) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(pod: Pod) -> None:
            async with gate:
                await act(pod)

        for outcome in await asyncio.gather(*map(one, pods), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _evict(self, pod: Pod) -> None:
        try:
            if await self._surging.is_awaited(pod):
                self._surged.add(pod.uid)
                self._postpone(pod, 0.0)
                return
            self._surged.discard(pod.uid)
            await self._client.evict(pod.name, pod.namespace, uid=pod.uid)
        except (NotFoundError, ConflictError):
            return  # it is gone, or another pod has its name by now: the next look tells
        except TooManyRequestsError as refusal:
            self._postpone(pod, refusal.retry_after)
        except (ServerError, ForbiddenError) as refusal:  # two budgets on one pod are a 500; a webhook's no is a 403
            self._postpone(pod, 0.0)
            self._report(pod, f"cannot be evicted: {refusal.message}")
        else:
            reference = ObjectReference.of_pod(pod)
            self._events.record(reference, reason="Evicted", message="Evicted pod: its node is drained")

    async def _delete(self, pod: Pod, seconds_left: float) -> None:
        grace = max(1.0, min(pod.grace_period, seconds_left))  # 0 would take it from the API while it may run
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._client.delete(PODS, pod.name, pod.namespace, uid=pod.uid, grace_period=grace)
            self._report(pod, "deleted past its budgets: the node's terminationGracePeriod ends")

    def _postpone(self, pod: Pod, at_least: float) -> None:
        limit = self._settings.eviction_backoff_max
        backoff = self._backoffs.setdefault(pod.uid, Backoff(0.5, limit))
        self._not_before[pod.uid] = self._clock.now() + max(backoff.next(), min(at_least, limit))

    def _report(self, pod: Pod, message: str) -> None:
        log.info("pod %s on %s: %s", pod.key, pod.node_name, message)
        self._events.record(ObjectReference.of_pod(pod), type="Warning", reason="FailedDraining", message=message)

    def _status(self, staying: Sequence[Pod], now: float, deadline: float | None) -> DrainStatus:
        held = {uid for uid, moment in self._not_before.items() if moment > now} - self._surged
        times = [self._not_before[pod.uid] for pod in staying if self._not_before.get(pod.uid, 0.0) > now]
        if deadline is not None:
            times += [deadline - pod.grace_period for pod in staying] + [deadline]
        later = [moment - now for moment in times if moment > now]
        return DrainStatus(
            waiting_for=tuple(pod.key for pod in staying),
            protected=tuple(pod.key for pod in staying if pod.uid in held),
            next_look=min([_LONGEST_PAUSE if self._hanging_since is None else _DETACH_POLL, *later]),
        )


def _must_go(pod: Pod, now: float, deadline: float) -> bool:
    """Whether its grace period would not end before the deadline, if it went any later."""
    if pod.deleted_at is not None:
        return pod.deleted_at > deadline
    return now >= deadline - pod.grace_period
