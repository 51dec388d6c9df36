"""What is true at one moment, as gauges: the caches, the last plan and the last decision.

All that a `Reading` holds is immutable or a copy, so that it can be told beside the event loop: one line for each pod
takes a second for 40,000 of them.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import GaugeMetricFamily

from autonodes import __version__
from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodepool import NodePool
from autonodes.controllers.claims import deleted_at
from autonodes.controllers.series import SERIES
from autonodes.core import labels
from autonodes.core.errors import AutonodesError
from autonodes.core.model import InstanceType, Node, Pod, Resources
from autonodes.core.quantities import parse_resources
from autonodes.core.resources import subtract
from autonodes.core.shapes import is_planned

_MILLI: Final = 1000

Values = Mapping[tuple[str, ...], float]
"""Values of labels, in the order of the series' labels → value."""

Named = tuple[str, Values]
"""A series, without ``karpenter_``."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """:param now: seconds since the epoch
    :param pending: of the pods those that are bound to no node
    :param unschedulable: pods for which the last plan has no place
    :param planning: seconds since the plan that is being made was begun; 0 if none is
    :param allowed: pool and reason → what budgets allowed at the last decision
    :param eligible: reason → nodes that might go
    :param instance_types: of the last plan, by pool
    """

    now: float
    synced: bool
    pods: tuple[Pod, ...]
    pending: tuple[Pod, ...]
    nodes: tuple[Node, ...]
    claims: tuple[NodeClaim, ...]
    pools: tuple[NodePool, ...]
    unschedulable: int = 0
    planning: float = 0.0
    allowed: Values = field(default_factory=dict)
    eligible: Mapping[str, int] = field(default_factory=dict)
    instance_types: Mapping[str, tuple[InstanceType, ...]] = field(default_factory=dict)


def gauges(of: Reading) -> Iterator[GaugeMetricFamily]:
    """All gauges of `SERIES`."""
    for name, values in (*_single(of), *_of_pools(of), *_of_nodes(of), ("pods_state", _pods(of)), *_offerings(of)):
        yield _family(f"karpenter_{name}", values)


def _single(of: Reading) -> Iterator[Named]:
    """One number each."""
    yield "build_info", {(__version__,): 1.0}
    yield "scheduler_queue_depth", {(): float(sum(map(is_planned, of.pending)))}
    yield "scheduler_unschedulable_pods_count", {(): float(of.unschedulable)}
    yield "scheduler_ignored_pods_count", {(): float(sum(bool(pod.fault) for pod in of.pending))}
    yield "scheduler_unfinished_work_seconds", {(): of.planning}
    yield "cluster_state_synced", {(): float(of.synced)}
    yield "voluntary_disruption_eligible_nodes", {(reason,): float(count) for reason, count in of.eligible.items()}


def _of_pools(of: Reading) -> Iterator[Named]:
    yield "nodepools_allowed_disruptions", of.allowed
    yield "nodepools_limit", _limits(of.pools)
    yield "nodepools_usage", _usage(of.claims)


def _family(name: str, values: Values) -> GaugeMetricFamily:
    series = SERIES[name]
    family = GaugeMetricFamily(name, series.text, labels=series.labels)
    for keys, value in sorted(values.items()):
        family.add_metric(keys, value)
    return family


def _of_nodes(of: Reading) -> Iterator[Named]:
    """Of the nodes of pools."""
    nodes = [node for node in of.nodes if labels.NODE_POOL in node.labels]
    asked, by_daemons = _requests(of.pods)
    yield "cluster_state_node_count", Tally((node.labels[labels.NODE_POOL],) for node in nodes)
    yield "nodes_current_lifetime_seconds", {_place(node): of.now - node.created_at for node in nodes}
    allocatable = {node.name: node.allocatable for node in nodes}
    overhead = {node.name: subtract(node.capacity, node.allocatable) for node in nodes}
    for name, amounts in (
        ("nodes_allocatable", allocatable),
        ("nodes_system_overhead", overhead),
        ("nodes_total_pod_requests", asked),
        ("nodes_total_daemon_requests", by_daemons),
    ):
        yield (
            name,
            {
                (*_place(node), resource): _base(resource, amount)
                for node in nodes
                for resource, amount in amounts.get(node.name, {}).items()
            },
        )
    yield "cluster_utilization_percent", _utilization(allocatable, asked)


def _requests(pods: tuple[Pod, ...]) -> tuple[Mapping[str, Resources], Mapping[str, Resources]]:
    """Node → what its pods ask for, and what its daemons do."""
    asked: dict[str, Tally[str]] = defaultdict(Tally)
    by_daemons: dict[str, Tally[str]] = defaultdict(Tally)
    for pod in pods:
        if pod.node_name and not pod.terminal:
            asked[pod.node_name].update(pod.requests)
            if pod.owner_kind == "DaemonSet":
                by_daemons[pod.node_name].update(pod.requests)
    return asked, by_daemons


def _utilization(allocatable: Mapping[str, Resources], asked: Mapping[str, Resources]) -> Values:
    have: Tally[str] = Tally()
    used: Tally[str] = Tally()
    for node, amounts in allocatable.items():
        have.update(amounts)
        used.update(asked.get(node, {}))
    return {(resource,): 100.0 * used[resource] / amount for resource, amount in have.items() if amount}


def _pods(of: Reading) -> Values:
    nodes = {node.name: node for node in of.nodes}
    return {
        (pod.name, pod.namespace, pod.phase, pod.node_name, *_place(nodes.get(pod.node_name))[1:]): 1.0
        for pod in of.pods
    }


_PLACE: Final = (labels.NODE_POOL, labels.INSTANCE_TYPE, labels.CAPACITY_TYPE, labels.ZONE, labels.ARCH)


def _place(node: Node | None) -> tuple[str, ...]:
    """The node's name, pool, instance type, capacity type, zone and architecture."""
    if node is None:
        return ("",) * (len(_PLACE) + 1)
    return (node.name, *(node.labels.get(key, "") for key in _PLACE))


def _offerings(of: Reading) -> Iterator[Named]:
    available: dict[tuple[str, ...], float] = {}
    prices: dict[tuple[str, ...], float] = {}
    for pool, kinds in of.instance_types.items():
        for kind in kinds:
            for each in kind.offerings:
                key = (pool, kind.name, each.capacity_type, each.zone)
                available[key] = float(each.available)
                if each.price is not None:
                    prices[key] = each.price
    yield "cloudprovider_instance_type_offering_available", available
    yield "cloudprovider_instance_type_offering_price_estimate", prices


def _limits(pools: tuple[NodePool, ...]) -> Values:
    return {
        (pool.name, name): _base(name, amount) for pool in pools for name, amount in _read(pool.spec.limits).items()
    }


def _usage(claims: tuple[NodeClaim, ...]) -> Values:
    used: Tally[tuple[str, str]] = Tally()
    for claim in claims:
        if claim.pool and deleted_at(claim) is None:
            used.update({(claim.pool, name): amount for name, amount in _read(claim.status.capacity).items()})
            used[claim.pool, "nodes"] += 1
    return {key: _base(key[1], amount) for key, amount in used.items()}


def _base(name: str, amount: int) -> float:
    """In the unit that Kubernetes shows: cores, not millicores."""
    return amount / (_MILLI if name == "cpu" else 1)


def _read(amounts: Mapping[str, str]) -> Resources:
    try:
        return parse_resources(amounts, path="resources", capacity=True)
    except AutonodesError:
        return {}  # its own condition says so
