"""The whole controller: caches, leadership, kopf, reconcilers, put together and run.

The caches are kept and filled whether this process leads or not, so that it can act at once when it does. Everything
that acts runs only while the Lease is held; when it is lost, all of it is cancelled where it stands, and the Lease is
waited for again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from autonodes.api.nodeclaim import NodeClaim
from autonodes.controllers.claims import Claims
from autonodes.controllers.clock import SystemClock
from autonodes.controllers.commands import Commands
from autonodes.controllers.consolidatability import Consolidatability
from autonodes.controllers.decisionlog import DecisionLog
from autonodes.controllers.disruption import Disruption
from autonodes.controllers.drift import Drifting
from autonodes.controllers.expectations import Expectations
from autonodes.controllers.expiration import Expiration
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.garbagecollection import GarbageCollection
from autonodes.controllers.initialization import Initialization
from autonodes.controllers.interruption import Interruptions
from autonodes.controllers.joining import Joiner
from autonodes.controllers.launch import Launch
from autonodes.controllers.lifecycle import Gated, Lifecycle
from autonodes.controllers.liveness import Liveness
from autonodes.controllers.lives import Lives
from autonodes.controllers.metrics import Metrics
from autonodes.controllers.nodeclasses import NodeClasses
from autonodes.controllers.nodeoverlays import NodeOverlays
from autonodes.controllers.nodepools import NodePools
from autonodes.controllers.nodes import Nodes
from autonodes.controllers.nominating import Nominating
from autonodes.controllers.operator import Operator
from autonodes.controllers.podevents import PodEvents
from autonodes.controllers.preserving import Preserving
from autonodes.controllers.providers import Providers
from autonodes.controllers.provisioning import Provisioner
from autonodes.controllers.purchaserates import PurchaseRates
from autonodes.controllers.purchasing import Purchasing
from autonodes.controllers.registration import Registration
from autonodes.controllers.registrationhealth import RegistrationHealth
from autonodes.controllers.repair import Repair
from autonodes.controllers.rollback import GangRollback
from autonodes.controllers.roomkeeping import RoomKeeping
from autonodes.controllers.runaway import Runaway
from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.snapshots import Snapshots
from autonodes.controllers.staticpools import StaticPools
from autonodes.controllers.termination import Termination
from autonodes.controllers.volumes import Volumes
from autonodes.controllers.waiting import Wakeups, first_to_return
from autonodes.controllers.witness import Witness
from autonodes.core.availability import Availability
from autonodes.core.clock import Clock
from autonodes.core.model import Node, Pod
from autonodes.core.planner import plan
from autonodes.kube.backoff import Backoff
from autonodes.kube.cache import Cache, Change
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import NotFoundError
from autonodes.kube.events import EventRecorder
from autonodes.kube.kubeconfig import Credentials
from autonodes.kube.leases import LeaderElection, new_identity
from autonodes.kube.resources import NODECLAIMS, node_class
from autonodes.provider import Provider

log = logging.getLogger(__name__)

LEASE_NAME: Final = "autonodes-controller"
LEASE_NAMESPACE: Final = "kube-system"

_LAST_WORDS: Final = 1.0
"""Seconds for the events that are still to be written when the program ends."""


@dataclass(frozen=True, kw_only=True)
class ControllerContext:
    """What the composition root hands to the controller.

    :param credentials: of the cluster; kopf makes a session of its own from them
    :param client: of the same cluster
    :param providers: started, by the kind of their node class
    :param decided: takes each line of the decision log (`autonodes.controllers.decisionlog`); must not fail
    :param extra: further work that only the leader does (the approver of certificates), as functions that make it
    """

    credentials: Credentials
    client: KubeClient
    providers: Mapping[str, Provider]
    joiner: Joiner
    decided: Callable[[str], None] = logging.getLogger("autonodes.decisions").info
    extra: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
    clock: Clock = field(default_factory=SystemClock)
    settings: ControllerSettings = field(default_factory=ControllerSettings)
    identity: str = field(default_factory=new_identity)


async def run(context: ControllerContext) -> None:
    """Run the controller until SIGTERM or SIGINT, or until cancelled.

    :raises ExceptionGroup: something of it ended that must not; the process should end, and be started again
    """
    await Program(context).run()


class Program:
    """The parts, wired. Each is made once; what acts is started anew with each leadership."""

    def __init__(self, context: ControllerContext) -> None:
        client, clock, settings = context.client, context.clock, context.settings
        self._context, self._clock = context, clock
        self._stopping = asyncio.Event()
        self.election = LeaderElection(
            client,
            LEASE_NAME,
            LEASE_NAMESPACE,
            context.identity,
            clock,
            lease_duration=settings.lease_duration,
            renew_deadline=settings.lease_renewal,
            retry_period=settings.lease_retry,
        )
        self.state = ClusterState(client, clock, selectors=bool(settings.default_spread))
        self.events = EventRecorder(client, clock, instance=context.identity)
        self.metrics = Metrics(self.state, clock, port=settings.metrics_port)
        self._classes: dict[str, Cache[dict[str, Any]]] = {
            kind: Cache(client, node_class(kind), msgspec.json.decode, clock) for kind in context.providers
        }
        providers = Providers(self.metrics.metered(context.providers), self._classes)
        freeze = Freeze(self.state, clock, lambda: self.election.is_leader)
        health = RegistrationHealth()
        self.nodeoverlays = NodeOverlays(client, self.state, providers, clock)
        decisions = DecisionLog(context.decided, clock)
        claims, nodes = Claims(client, self.events, decisions, clock), Nodes(client, self.state, self.events)
        availability = Availability(first=settings.offering_rest, longest=settings.offering_rest_max)
        self._preserving = Preserving(client, self.state, claims, freeze, clock)
        self._repair = Repair(
            client, self.state, claims, providers, self._preserving, freeze, clock=clock, settings=settings
        )
        self._interruptions = Interruptions(
            self.state, claims, providers, availability, freeze, clock=clock, settings=settings
        )
        self._life_wakeups, self._end_wakeups = Wakeups(clock), Wakeups(clock)

        gate = asyncio.Semaphore(settings.looks_at_once)
        lifecycle = Lifecycle(
            claims,
            client,
            self.state,
            steps=(
                Launch(
                    claims,
                    providers,
                    self.nodeoverlays,
                    availability,
                    context.joiner,
                    freeze,
                    clock,
                    at_once=settings.launches_at_once,
                ),
                Gated(Registration(claims, client, self.state, context.joiner, health, self._may_open), gate),
                Gated(Initialization(claims, client, self.state), gate),
            ),
            liveness=Liveness(claims, self.state, health, availability, self._preserving, clock, settings.deadlines),
            wakeups=self._life_wakeups,
            gate=gate,
            clock=clock,
        )
        termination = Termination(
            claims,
            nodes,
            Volumes(client),
            providers,
            context.joiner,
            self.events,
            freeze,
            wakeups=self._end_wakeups,
            gate=asyncio.Semaphore(settings.looks_at_once),
            clock=clock,
            settings=settings,
        )
        self.lives = Lives(lifecycle.live, termination.run, self._life_wakeups)

        self.buffers = RoomKeeping(client, self.state, clock)
        runaway = Runaway(self.state, clock, patience=settings.spoiled_after)
        snapshots = Snapshots(
            self.state,
            providers,
            self.nodeoverlays,
            self.buffers,
            freeze,
            clock,
            availability=availability,
            runaway=runaway,
            settings=settings,
        )
        expectations = Expectations(self._claim_exists, clock, patience=settings.cache_wait)
        rates = PurchaseRates(self.state, clock, settings.purchase_rate)
        purchasing = Purchasing(client, self.state, freeze, expectations, decisions, rates, random.SystemRandom())
        self.provisioner = Provisioner(
            self.state,
            snapshots,
            purchasing,
            self.buffers,
            expectations,
            self.events,
            GangRollback(self.state, claims),
            decisions,
            plan=self.metrics.timed(plan),
            clock=clock,
            settings=settings,
        )
        self.staticpools = StaticPools(
            self.state, snapshots, purchasing, expectations, claims, providers, freeze, clock
        )
        self._nominating = Nominating(
            client, self.state, self.provisioner.nominations, self.provisioner.promised, self._life_wakeups.wake, clock
        )
        self.pod_events = PodEvents(client, self.state, clock)
        self.consolidatability = Consolidatability(self.state, claims, self.pod_events, clock)
        commands = Commands(self.state, claims, nodes, purchasing, freeze, clock=clock, settings=settings)
        self.disruption = Disruption(
            self.state,
            snapshots,
            self.provisioner,
            commands,
            expectations,
            claims,
            nodes,
            self.pod_events,
            decide=self.metrics.decide,
            decided=self.metrics.decided,
            clock=clock,
            settings=settings,
        )
        self.drifting = Drifting(self.state, claims, providers, clock=clock, settings=settings)
        self.expiration = Expiration(self.state, claims, self._preserving, freeze, clock)
        self.collection = GarbageCollection(
            client, self.state, claims, nodes, providers, clock=clock, settings=settings
        )
        self.nodepools = NodePools(client, self.state, providers, health, runaway, settings, clock)
        self.nodeclasses = NodeClasses(client, providers, clock)
        self._witness = Witness(self.state, self.lives, clock, settings)
        self._operator = Operator(
            context.credentials,
            self.lives,
            self.nodepools,
            self.nodeclasses,
            kinds=tuple(context.providers),
            restore_signals=self._take_signals,
        )
        self._subscribe()

    def _subscribe(self) -> None:
        self.state.nodeclaims.subscribe(self._claim_changed)
        self.state.nodes.subscribe(self._node_changed)
        self.state.pods.subscribe(self._pod_changed)
        self.state.nodepools.subscribe(lambda change: self.nodepools.changed(change.key))
        for kind, cache in self._classes.items():
            cache.subscribe(lambda change, kind=kind: self._class_changed(kind, change))  # type: ignore[misc]
        for part in (
            self.provisioner,
            self._nominating,
            self.pod_events,
            self.consolidatability,
            self.disruption,
            self.drifting,
            self.expiration,
            self.metrics,
            self.nodepools,
            self.nodeoverlays,
            self.staticpools,
        ):
            part.subscribe()

    def _claim_changed(self, change: Change[NodeClaim]) -> None:
        self._life_wakeups.wake(change.key)
        self._end_wakeups.wake(change.key)

    def _node_changed(self, change: Change[Node]) -> None:
        self._life_wakeups.wake(change.key)
        self._end_wakeups.wake(change.key)

    def _pod_changed(self, change: Change[Pod]) -> None:
        if change.old is not None and change.old.node_name:
            self._end_wakeups.wake(change.old.node_name)

    def _class_changed(self, kind: str, change: Change[dict[str, Any]]) -> None:
        self.nodeclasses.changed(kind, change.key)
        self.nodepools.all_changed()
        self.nodeoverlays.changed()
        self.drifting.changed()
        self.provisioner.trigger()

    def _may_open(self, node: Node) -> bool:
        return self._nominating.may_open(node)

    async def _claim_exists(self, name: str) -> bool:
        try:
            await self._context.client.get(NODECLAIMS, name)
        except NotFoundError:
            return False
        return True

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: somebody else's business
                loop.add_signal_handler(number, self._stopping.set)

    def stop(self) -> None:
        """Make `run` return."""
        self._stopping.set()

    async def run(self) -> None:
        """See :func:`run`."""
        self._take_signals()
        async with asyncio.TaskGroup() as tasks:
            watching = [
                tasks.create_task(self.state.run(), name="caches"),
                tasks.create_task(self.events.run(), name="events"),
                tasks.create_task(self.metrics.run(), name="metrics"),
                *(tasks.create_task(cache.run(), name=f"cache {kind}") for kind, cache in self._classes.items()),
            ]
            await first_to_return(self._lead_for_ever(), self._stopping.wait())
            await self._say_last_words()
            for task in watching:
                task.cancel()

    async def _lead_for_ever(self) -> None:
        await self.synced()
        while True:
            async with self.election as election:
                await first_to_return(self._lead(), election.lost.wait())
            log.error("leadership is lost: everything stops until it is won again")

    async def synced(self) -> None:
        """Wait until all caches have had their first complete list."""
        await self.state.synced()
        for cache in self._classes.values():
            await cache.synced()

    async def _lead(self) -> None:
        """All that acts; does not return."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._operate(), name="operator")
                for part in (
                    self.nodeclasses,
                    self.nodepools,
                    self.nodeoverlays,
                    self.staticpools,
                    self.buffers,
                    self.pod_events,
                    self.consolidatability,
                    self.provisioner,
                    self._nominating,
                    self.disruption,
                    self._preserving,
                    self._repair,
                    self._interruptions,
                    self.drifting,
                    self.expiration,
                    self.collection,
                ):
                    tasks.create_task(part.run(), name=type(part).__name__)
                for make in self._context.extra:
                    tasks.create_task(make())
        finally:
            await self.lives.close()

    async def _operate(self) -> None:
        """kopf, started anew when it ends or when the witness says that it is blind."""
        backoff = Backoff(1.0, 30.0)
        while True:
            started = self._clock.now()
            try:
                await first_to_return(self._operator.run(), self._witness.disagreement())
                log.error("kopf is restarted")
            except Exception:
                log.exception("kopf has ended and is restarted")
            if self._clock.now() - started > 300.0:
                backoff.reset()
            await self._clock.sleep(backoff.next())

    async def _say_last_words(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.events.flush(), _LAST_WORDS)
