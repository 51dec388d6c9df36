"""Prometheus metrics, under Karpenter's names where the meaning is the same, on ``/metrics`` of a port of the loopback.

Counters follow the caches: a claim that comes, goes, or is marked as disrupted is counted when the cache tells of it,
so no other part has to think of it. What a process saw before it was complete (the first list) is no event. Gauges are
read off the caches when somebody asks. A port that is taken is reported and costs nothing but the metrics.

All of it runs in the event loop: the caches are never read while they change.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from autonodes.api.conditions import find_condition
from autonodes.api.nodeclaim import DISRUPTION_REASON, NodeClaim
from autonodes.controllers.claims import deleted_at
from autonodes.core import labels
from autonodes.core.budgets import DRIFTED, EMPTY, UNDERUTILIZED, allowances
from autonodes.core.clock import Clock
from autonodes.core.disruption import Decision
from autonodes.core.errors import AutonodesError
from autonodes.core.model import Plan, Snapshot
from autonodes.core.quantities import parse_resources
from autonodes.core.shapes import is_planned
from autonodes.kube.cache import Change
from autonodes.kube.cluster import ClusterState

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"

_MINUTES: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
"""Seconds: a machine goes in a few, a drain may take hours."""

_BYTES: Final = 1
_MILLI: Final = 1000


class Metrics:
    """:param port: of the loopback; 0 serves nothing"""

    def __init__(self, state: ClusterState, clock: Clock, *, port: int) -> None:
        self._state, self._clock, self._port = state, clock, port
        self.registry = CollectorRegistry(auto_describe=False)
        self._created = self._counter("nodeclaims_created", "NodeClaims that came", "nodepool")
        self._terminated = self._counter("nodeclaims_terminated", "NodeClaims that are gone", "nodepool")
        self._disrupted = self._counter("nodeclaims_disrupted", "NodeClaims that were disrupted", "nodepool", "reason")
        self._decisions = self._counter(
            "voluntary_disruption_decisions", "Disruption decisions that were acted on", "decision", "reason"
        )
        self._scheduling = Histogram(
            "karpenter_scheduler_scheduling_duration_seconds", "Time of one plan", registry=self.registry
        )
        self._termination = Histogram(
            "karpenter_nodeclaims_termination_duration_seconds",
            "From the request to delete a NodeClaim to its end",
            ["nodepool"],
            buckets=_MINUTES,
            registry=self.registry,
        )
        self._unschedulable = 0
        self._allowed: dict[tuple[str, ...], float] = {}
        self.registry.register(_State(self))

    def _counter(self, name: str, text: str, *keys: str) -> Counter:
        return Counter(f"karpenter_{name}_total", text, keys, registry=self.registry)

    def subscribe(self) -> None:
        """Follow the claims."""
        self._state.nodeclaims.subscribe(self._claim_changed)

    def _claim_changed(self, change: Change[NodeClaim]) -> None:
        old, new = change.old, change.new
        if not self._state.nodeclaims.is_synced:
            return
        if old is None and new is not None:
            self._created.labels(new.pool).inc()
        if new is None and old is not None:
            self._terminated.labels(old.pool).inc()
            if (asked := deleted_at(old)) is not None:
                self._termination.labels(old.pool).observe(max(0.0, self._clock.now() - asked))
        if new is not None and new.condition(DISRUPTION_REASON) and not (old and old.condition(DISRUPTION_REASON)):
            found = find_condition(new.status.conditions, DISRUPTION_REASON)
            self._disrupted.labels(new.pool, found.reason.lower() if found else "").inc()

    def timed(self, plan: Callable[[Snapshot], Plan]) -> Callable[[Snapshot], Plan]:
        """The planner, with its time and what it left unplaced noted."""

        def planned(snapshot: Snapshot) -> Plan:
            started = time.perf_counter()
            made = plan(snapshot)
            self._scheduling.observe(time.perf_counter() - started)
            self._unschedulable = len(made.unplaced)
            return made

        return planned

    def decided(self, snapshot: Snapshot, decision: Decision) -> None:
        """What was decided and is now acted on, and what budgets allowed then."""
        for command in decision.commands:
            kind = "replace" if command.replacements else "delete"
            self._decisions.labels(kind, command.reason.lower()).inc()
        for reason in (EMPTY, DRIFTED, UNDERUTILIZED):
            for pool, count in allowances(snapshot, reason).items():
                self._allowed[pool, reason] = count

    def gauges(self) -> Iterator[GaugeMetricFamily]:
        """The state of things now."""
        state = self._state
        waiting = sum(1 for pod in state.pending.values() if is_planned(pod))
        yield _one("karpenter_scheduler_queue_depth", "Pods that wait for a plan", waiting)
        yield _one("karpenter_scheduler_unschedulable_pods_count", "Pods without a place", self._unschedulable)
        synced = state.fresh(self._clock.now())
        yield _one("karpenter_cluster_state_synced", "Whether all that is decided on is known", int(synced))
        nodes = [node for node in state.nodes.items.values() if labels.NODE_POOL in node.labels]
        yield _many(
            "karpenter_cluster_state_node_count",
            "Nodes of pools",
            ("nodepool",),
            {(pool,): count for pool, count in Tally(node.labels[labels.NODE_POOL] for node in nodes).items()},
        )
        yield _many(
            "karpenter_nodes_allocatable",
            "What nodes have for pods",
            ("node_name", "nodepool", "resource_type"),
            {
                (node.name, node.labels[labels.NODE_POOL], name): _base(name, amount)
                for node in nodes
                for name, amount in node.allocatable.items()
            },
        )
        yield _many("karpenter_nodepools_allowed_disruptions", "By budgets", ("nodepool", "reason"), self._allowed)
        yield _many("karpenter_nodepools_limit", "Limits of pools", ("nodepool", "resource_type"), self._limits())
        yield _many("karpenter_nodepools_usage", "What pools have", ("nodepool", "resource_type"), self._usage())

    def _limits(self) -> dict[tuple[str, ...], float]:
        pools = self._state.nodepools.items
        return {
            (pool, name): _base(name, amount)
            for pool, body in pools.items()
            for name, amount in _read(body.spec.limits).items()
        }

    def _usage(self) -> dict[tuple[str, ...], float]:
        used: Tally[tuple[str, ...]] = Tally()
        for claim in self._state.nodeclaims.items.values():
            if claim.pool and deleted_at(claim) is None:
                used.update({(claim.pool, name): amount for name, amount in _read(claim.status.capacity).items()})
                used[claim.pool, "nodes"] += 1
        return {key: _base(key[1], amount) for key, amount in used.items()}

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
        body = generate_latest(self.registry)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


class _State(Collector):
    """The gauges, as the registry asks for them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[GaugeMetricFamily]:
        return self._metrics.gauges()


def _one(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _many(name: str, text: str, keys: tuple[str, ...], values: dict[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=keys)
    for labels_, value in sorted(values.items()):
        family.add_metric(labels_, value)
    return family


def _base(name: str, amount: int) -> float:
    """In the unit that Kubernetes shows: cores, not millicores."""
    return amount / (_MILLI if name == "cpu" else _BYTES)


def _read(amounts: dict[str, str]) -> dict[str, int]:
    try:
        return dict(parse_resources(amounts, path="resources", capacity=True))
    except AutonodesError:
        return {}  # its own condition says so
