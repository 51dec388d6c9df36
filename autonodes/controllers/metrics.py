"""Prometheus metrics, under Karpenter's names where the meaning is the same, on ``/metrics`` of a port of the loopback.

Counters follow the caches: a claim that comes, goes, or is marked as disrupted is counted when the cache tells of it,
so no other part has to think of it. What a process saw before it was complete (the first list) is no event. Gauges are
read off the caches when somebody asks: copied in the event loop, told beside it (`gauges`). A port that is taken is
reported and costs nothing but the metrics.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from autonodes.api.conditions import find_condition
from autonodes.api.nodeclaim import DISRUPTION_REASON, DRAINED, INSTANCE_TERMINATING, REGISTERED, NodeClaim
from autonodes.api.objects import timestamp
from autonodes.controllers.claims import deleted_at
from autonodes.controllers.gauges import Reading, gauges
from autonodes.controllers.interruption import REASONS as INTERRUPTIONS
from autonodes.controllers.metering import Metered
from autonodes.controllers.repair import UNHEALTHY, UNREACHABLE
from autonodes.controllers.replacements import underway
from autonodes.controllers.series import SERIES
from autonodes.core import labels
from autonodes.core.budgets import DRIFTED, EMPTY, UNDERUTILIZED, allowances
from autonodes.core.clock import Clock
from autonodes.core.disruption import Circumstances, Command, Decision, Policy
from autonodes.core.disruption import decide as plain_decide
from autonodes.core.model import InstanceType, Node, Plan, Pod, Snapshot
from autonodes.kube.cache import Change
from autonodes.kube.cluster import ClusterState
from autonodes.provider import Provider

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"

PROVISIONED: Final = "provisioned"
"""Why a claim came that replaces nothing."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # a line more for each, which Karpenter does not have

_MESSAGE_TYPES: Final = {reason: kind for kind, reason in INTERRUPTIONS.items()}


class Metrics:
    """:param port: of the loopback; 0 serves nothing"""

    def __init__(self, state: ClusterState, clock: Clock, *, port: int) -> None:
        self._state, self._clock, self._port = state, clock, port
        self._registry = CollectorRegistry(auto_describe=False)
        made = {name: self._made(name) for name, each in SERIES.items() if each.kind != "gauge"}
        self._counters = {name: each for name, each in made.items() if isinstance(each, Counter)}
        self._histograms = {name: each for name, each in made.items() if isinstance(each, Histogram)}
        self._unschedulable, self._planning_since = 0, 0.0
        self._allowed: dict[tuple[str, ...], float] = {}
        self._eligible: dict[str, int] = {}
        self._instance_types: Mapping[str, tuple[InstanceType, ...]] = {}

    def _made(self, name: str) -> Counter | Histogram:
        series = SERIES[name]
        if series.kind == "counter":
            return Counter(name, series.text, series.labels, registry=self._registry)
        return Histogram(name, series.text, series.labels, buckets=series.buckets, registry=self._registry)

    def _count(self, name: str, *values: str) -> None:
        counter = self._counters[f"karpenter_{name}_total"]
        (counter.labels(*values) if values else counter).inc()

    def _time(self, name: str, seconds: float, *values: str) -> None:
        histogram = self._histograms[f"karpenter_{name}_seconds"]
        (histogram.labels(*values) if values else histogram).observe(max(0.0, seconds))

    def subscribe(self) -> None:
        """Follow claims, nodes and pods."""
        self._state.nodeclaims.subscribe(self._claim_changed)
        self._state.nodes.subscribe(self._node_changed)
        self._state.pods.subscribe(self._pod_changed)

    def _claim_changed(self, change: Change[NodeClaim]) -> None:
        old, new = change.old, change.new
        if not self._state.nodeclaims.is_synced:
            return
        if old is None and new is not None:
            (command, *_) = (*underway([new]), None)
            self._count("nodeclaims_created", new.pool, command.reason.lower() if command else PROVISIONED)
        if new is None and old is not None:
            self._claim_ended(old)
        if new is not None:
            before = old.true_conditions if old is not None else frozenset()
            self._claim_marked(new, new.true_conditions - before)

    def _claim_marked(self, claim: NodeClaim, newly: Collection[str]) -> None:
        if REGISTERED in newly:
            self._count("nodes_created", claim.pool)
        if DRAINED in newly:
            self._count("nodes_drained", claim.pool)
        if DISRUPTION_REASON not in newly:
            return
        found = find_condition(claim.status.conditions, DISRUPTION_REASON)
        reason = found.reason if found else ""
        self._count("nodeclaims_disrupted", claim.pool, reason.lower())
        if reason in (UNHEALTHY, UNREACHABLE):
            self._count("nodeclaims_unhealthy_disrupted", claim.pool, reason)
        if reason in _MESSAGE_TYPES:
            self._count("interruption_received_messages", _MESSAGE_TYPES[reason])

    def _claim_ended(self, claim: NodeClaim) -> None:
        now, shown = self._clock.now(), claim.metadata.labels
        self._count(
            "nodeclaims_terminated", claim.pool, shown.get(labels.CAPACITY_TYPE, ""), shown.get(labels.ZONE, "")
        )
        if (asked := deleted_at(claim)) is not None:
            self._time("nodeclaims_termination_duration", now - asked, claim.pool)
        going = find_condition(claim.status.conditions, INSTANCE_TERMINATING)
        since = timestamp(going.last_transition_time) if going is not None and going.status == "True" else None
        if since is not None:
            self._time("nodeclaims_instance_termination_duration", now - since, claim.pool)

    def _node_changed(self, change: Change[Node]) -> None:
        node, now = change.old, self._clock.now()
        if change.new is not None or node is None or labels.NODE_POOL not in node.labels:
            return
        pool = node.labels[labels.NODE_POOL]
        self._count("nodes_terminated", pool)
        self._time("nodes_lifetime_duration", now - node.created_at, pool)
        if node.deleted_at is not None:
            self._time("nodes_termination_duration", now - node.deleted_at, pool)

    def _pod_changed(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        if not self._state.pods.is_synced or new is None:
            return
        age = self._clock.now() - new.created_at
        if new.node_name and not (old and old.node_name):
            self._time("pods_bound_duration", age)
        if new.phase == "Running" and (old is None or old.phase == "Pending"):
            self._time("pods_startup_duration", age)

    def timed(self, plan: Callable[[Snapshot], Plan]) -> Callable[[Snapshot], Plan]:
        """The planner, with its time and what it left unplaced noted."""

        def planned(snapshot: Snapshot) -> Plan:
            self._planning_since = started = time.perf_counter()
            try:
                made = plan(snapshot)
            finally:
                self._planning_since = 0.0
            self._time("scheduler_scheduling_duration", time.perf_counter() - started)
            self._unschedulable, self._instance_types = len(made.unplaced), snapshot.instance_types
            return made

        return planned

    def decide(
        self, snapshot: Snapshot, facts: Circumstances, policy: Policy, *, only: Collection[str] | None = None
    ) -> Decision:
        """`autonodes.core.disruption.decide`, with its time and what might go noted."""
        started = time.perf_counter()
        decision = plain_decide(snapshot, facts, policy, only=only)
        self._time("voluntary_disruption_decision_evaluation_duration", time.perf_counter() - started)
        if only is None:
            self._eligible = {**self._eligible, **decision.eligible}
        return decision

    def decided(self, snapshot: Snapshot, decision: Decision) -> None:
        """What was decided and is now acted on, and what budgets allowed then."""
        for command in decision.commands:
            kind = "replace" if command.replacements else "delete"
            self._count("voluntary_disruption_decisions", kind, command.reason.lower(), _consolidation_type(command))
        self._allowed = {
            (pool, reason): float(count)
            for reason in (EMPTY, DRIFTED, UNDERUTILIZED)
            for pool, count in allowances(snapshot, reason).items()
        }

    def metered(self, providers: Mapping[str, Provider]) -> Mapping[str, Provider]:
        """The same providers, with their calls counted and timed."""
        return {kind: self._metered(provider) for kind, provider in providers.items()}

    def _metered(self, provider: Provider) -> Provider:
        def told(method: str, seconds: float, error: str) -> None:
            self._time("cloudprovider_duration", seconds, method, provider.name)
            if error:
                self._count("cloudprovider_errors", method, provider.name, error)

        return Metered(provider, told)

    def reading(self) -> Reading:
        """The state of things now; only in the event loop, where the caches don't change meanwhile."""
        state, now = self._state, self._clock.now()
        since = self._planning_since
        return Reading(
            now=now,
            synced=state.fresh(now),
            pods=tuple(state.pods.items.values()),
            pending=tuple(state.pending.values()),
            nodes=tuple(state.nodes.items.values()),
            claims=tuple(state.nodeclaims.items.values()),
            pools=tuple(state.nodepools.items.values()),
            unschedulable=self._unschedulable,
            planning=time.perf_counter() - since if since else 0.0,
            allowed=self._allowed,
            eligible=self._eligible,
            instance_types=self._instance_types,
        )

    def text(self, reading: Reading) -> bytes:
        """All series in Prometheus' format; safe beside the event loop."""
        now = CollectorRegistry(auto_describe=False)
        now.register(_Gauges(reading))
        return generate_latest(self._registry) + generate_latest(now)

    async def run(self) -> None:
        """Serve them until cancelled."""
        if not self._port:
            await asyncio.Event().wait()
        application = web.Application()
        application.router.add_get("/metrics", self._answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, LOOPBACK, self._port).start()
            except OSError as error:
                log.warning("no metrics are served: port %d of %s: %s", self._port, LOOPBACK, error)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _answer(self, _: web.Request) -> web.Response:
        body = await asyncio.to_thread(self.text, self.reading())
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


class _Gauges(Collector):
    """Those of one moment, as a registry asks for them."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[GaugeMetricFamily]:
        return gauges(self._reading)


def _consolidation_type(command: Command) -> str:
    """As Karpenter has it; "" for what is no consolidation."""
    if command.reason == EMPTY:
        return "empty"
    if command.reason == UNDERUTILIZED:
        return "single" if len(command.candidates) == 1 else "multi"
    return ""
