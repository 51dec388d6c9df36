"""The time series that are served, as a table: `metrics` makes them of it, and ``docs/metrics.md`` shows it.

Names, and labels as far as they are there, are Karpenter's where the meaning is the same; what only its cloud has (the
messages of a queue) means a provider's notices here. Every name begins with ``karpenter_``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

_MINUTES: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
"""Seconds: a machine goes in a few, a drain may take hours."""
_CALLS: Final = (0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds, of plans and of calls to a cloud."""
_LIVES: Final = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0, 7 * 24 * 3600.0, 30 * 24 * 3600.0)
"""Seconds, of nodes."""

_NODE: Final = ("node_name", "nodepool", "instance_type", "capacity_type", "zone", "arch", "resource_type")


@dataclass(frozen=True, slots=True)
class Series:
    """:param buckets: of a histogram, in its unit"""

    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(text: str, *labels: str) -> Series:
    return Series("counter", text, labels)


def _gauge(text: str, *labels: str) -> Series:
    return Series("gauge", text, labels)


def _histogram(buckets: tuple[float, ...], text: str, *labels: str) -> Series:
    return Series("histogram", text, labels, buckets)


SERIES: Final[Mapping[str, Series]] = {
    "karpenter_build_info": _gauge("1, for the version that runs", "version"),
    # NodeClaims
    "karpenter_nodeclaims_created_total": _counter(
        "NodeClaims that came: for pods (`provisioned`), or what they replace nodes for", "nodepool", "reason"
    ),
    "karpenter_nodeclaims_terminated_total": _counter("NodeClaims that are gone", "nodepool", "capacity_type", "zone"),
    "karpenter_nodeclaims_disrupted_total": _counter("NodeClaims that were disrupted", "nodepool", "reason"),
    "karpenter_nodeclaims_unhealthy_disrupted_total": _counter(
        "NodeClaims that were disrupted because their node was broken", "nodepool", "condition"
    ),
    "karpenter_nodeclaims_termination_duration_seconds": _histogram(
        _MINUTES, "From the request to delete a NodeClaim to its end", "nodepool"
    ),
    "karpenter_nodeclaims_instance_termination_duration_seconds": _histogram(
        _MINUTES, "From the deletion of a machine to the end of its NodeClaim", "nodepool"
    ),
    # Nodes
    "karpenter_nodes_created_total": _counter("Machines that joined as nodes", "nodepool"),
    "karpenter_nodes_terminated_total": _counter("Nodes that are gone", "nodepool"),
    "karpenter_nodes_drained_total": _counter("Nodes that were drained to the end", "nodepool"),
    "karpenter_nodes_termination_duration_seconds": _histogram(
        _MINUTES, "From the request to delete a node to its end", "nodepool"
    ),
    "karpenter_nodes_lifetime_duration_seconds": _histogram(_LIVES, "Age of nodes at their end", "nodepool"),
    "karpenter_nodes_current_lifetime_seconds": _gauge("Age of a node", *_NODE[:-1]),
    "karpenter_nodes_allocatable": _gauge("What a node has for pods", *_NODE),
    "karpenter_nodes_system_overhead": _gauge("What a node keeps from pods", *_NODE),
    "karpenter_nodes_total_pod_requests": _gauge("What the pods on a node ask for, its daemons included", *_NODE),
    "karpenter_nodes_total_daemon_requests": _gauge("What the daemons on a node ask for", *_NODE),
    # Pods
    "karpenter_pods_state": _gauge(
        "1, for each pod",
        "name",
        "namespace",
        "phase",
        "node",
        "nodepool",
        "instance_type",
        "capacity_type",
        "zone",
        "arch",
    ),
    "karpenter_pods_bound_duration_seconds": _histogram(_MINUTES, "From a pod's creation until it has a node"),
    "karpenter_pods_startup_duration_seconds": _histogram(_MINUTES, "From a pod's creation until it runs"),
    # Scheduling
    "karpenter_scheduler_queue_depth": _gauge("Pods that wait for a plan"),
    "karpenter_scheduler_unschedulable_pods_count": _gauge("Pods for which the last plan has no place"),
    "karpenter_scheduler_ignored_pods_count": _gauge("Pods that wait and can't be planned: their spec is at fault"),
    "karpenter_scheduler_scheduling_duration_seconds": _histogram(_CALLS, "Time of one plan"),
    "karpenter_scheduler_unfinished_work_seconds": _gauge("For how long the plan that is being made has been"),
    # Voluntary disruption
    "karpenter_voluntary_disruption_decisions_total": _counter(
        "Decisions that were acted on", "decision", "reason", "consolidation_type"
    ),
    "karpenter_voluntary_disruption_decision_evaluation_duration_seconds": _histogram(_CALLS, "Time of one decision"),
    "karpenter_voluntary_disruption_eligible_nodes": _gauge("Nodes that may go, before budgets", "reason"),
    # NodePools
    "karpenter_nodepools_allowed_disruptions": _gauge(
        "How many nodes budgets allowed to go at the last decision", "nodepool", "reason"
    ),
    "karpenter_nodepools_limit": _gauge("Limits of a pool", "nodepool", "resource_type"),
    "karpenter_nodepools_usage": _gauge("What a pool has", "nodepool", "resource_type"),
    # The cluster
    "karpenter_cluster_state_synced": _gauge("Whether all is known that is decided on: while 0, nothing is done"),
    "karpenter_cluster_state_node_count": _gauge("Nodes of pools", "nodepool"),
    "karpenter_cluster_utilization_percent": _gauge("Share of what nodes have that pods ask for", "resource_type"),
    # Providers
    "karpenter_cloudprovider_duration_seconds": _histogram(
        _CALLS, "Time of one call of a provider", "method", "provider"
    ),
    "karpenter_cloudprovider_errors_total": _counter("Calls of a provider that failed", "method", "provider", "error"),
    "karpenter_cloudprovider_instance_type_offering_available": _gauge(
        "Whether an offering can be had, as far as its pool has learned",
        "nodepool",
        "instance_type",
        "capacity_type",
        "zone",
    ),
    "karpenter_cloudprovider_instance_type_offering_price_estimate": _gauge(
        "Dollars an hour that plans count with", "nodepool", "instance_type", "capacity_type", "zone"
    ),
    "karpenter_interruption_received_messages_total": _counter(
        "Notices of providers that were acted on", "message_type"
    ),
}


def table() -> str:
    """All of them, for people, in Markdown."""
    rows = ["| Series | Kind | Labels | Meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.text} |"
        for name, each in SERIES.items()
    ]
    return "\n".join(rows)
