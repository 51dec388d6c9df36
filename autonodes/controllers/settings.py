"""What can be set in the controller. All times are seconds.

The defaults are Karpenter's where users have habits; each field says its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autonodes.core.deadlines import Deadlines
from autonodes.core.podterms import Spread
from autonodes.core.purchaserate import PurchaseRate
from autonodes.kube.leases import LEASE_DURATION, RENEW_DEADLINE, RETRY_PERIOD


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """How long the controller waits for what.

    :param batch_idle: a batch of pods closes when no further pod came for so long: a Deployment's pods are created
        within some 100 ms, and a plan for all of them is cheaper than one for each
    :param batch_max: a batch closes after so long, even if pods keep coming
    :param replan_after: pods that could not be placed are planned again after so long, if nothing changed before:
        an offering can come back without an event
    :param launch_deadline: a claim that has no machine after so long is deleted, and its pods are planned again
    :param registration_deadline: a machine that did not join after so long is deleted: the longest sane boot of a
        large bare-metal machine
    :param initialization_deadline: a node that is not ready, or lacks a device, so long after it joined is deleted:
        drivers of GPUs are compiled in that time
    :param offering_rest: an offering that a launch was refused is left alone for so long at first, and twice as long
        each time it is refused again: long enough not to ask in vain all the time, short enough for pods to wait
    :param offering_rest_max: the longest such rest
    :param purchase_burst: claims that a pool may write at once: more than people buy on purpose
    :param purchases_per_minute: claims that it may write a minute after that: what a defect can cost
    :param spoiled_after: a new node that somebody else makes useless tells against its pool after so long: taints that
        are forgotten in ``startupTaints`` are mostly taken off sooner
    :param collection_interval: between two rounds of garbage collection
    :param collection_grace: a younger machine without a claim is left alone: the claim may be on its way
    :param disruption_interval: between two looks at nodes that may be empty, drifted or badly used, when nothing asks
        for one earlier
    :param disruption_apart: between two such looks at least
    :param disruption_validation: what was decided about nodes must still be right after so long: Karpenter's
    :param replacement_deadline: a replacement that is no node after so long is given back, and what it was to replace
        stays: longer than launch and registration may take
    :param metrics_port: of the loopback, on which Prometheus metrics are served; 0 for none
    :param consolidation_min_age: younger nodes are not badly used yet, for pods may still come
    :param drift_interval: between two looks for drift, when no pool or node class changed before: a provider's images
        come once in a while
    :param cache_wait: a written claim must show in the cache within so long; else the watch is taken for dead
    :param termination_poll: between two looks at a machine that is going away
    :param drain_settle: a drain takes at least so long: the scheduler may have bound a pod to the node before it saw
        the taint. Its watch lags by milliseconds, by seconds under load
    :param eviction_backoff_max: the longest wait between two evictions of a pod that its budget protects
    :param repair_interval: between two looks for broken nodes, whose tolerations are minutes
    :param repair_drain: how long the drain of a broken machine may take: it may never confirm an eviction
    :param interruption_poll: between two questions for a provider's notices: a spot machine has two minutes
    :param operator_grace: a claim that nobody looks after for so long means that kopf's watch is dead
    :param lease_duration: after so long without a renewal another controller may take the Lease
    :param lease_renewal: after so long without a renewal its holder stops; shorter than the duration
    :param lease_retry: between two renewals
    :param launches_at_once: purchases in flight: what a provider's API takes without throttling
    :param limits: of all pools together, in resources, ``nodes`` and money (`autonodes.core.money.COST`); none without
        it, for only the user can know
    :param preference_policy: ``Respect`` or ``Ignore`` what pods prefer where it costs nothing; Karpenter's default
    :param min_values_policy: ``Strict`` buys nothing that leaves less of a choice than ``minValues`` ask for,
        ``BestEffort`` buys it all the same and says so; Karpenter's default
    :param default_spread: topology spread of pods that have no constraints of their own
        (`autonodes.core.defaultspread`): that of kube-scheduler's configuration, whose own default buys nothing
    :param looks_at_once: claims that are looked at in the same moment. More would not be faster, only hold more
        connections (some 150 kB each) and keep the event loop from the Lease
    """

    batch_idle: float = 1.0
    batch_max: float = 10.0
    replan_after: float = 10.0
    launch_deadline: float = 300.0
    registration_deadline: float = 900.0
    initialization_deadline: float = 900.0
    offering_rest: float = 30.0
    offering_rest_max: float = 1800.0
    purchase_burst: int = 1000
    purchases_per_minute: int = 120
    spoiled_after: float = 30.0
    collection_interval: float = 120.0
    collection_grace: float = 30.0
    disruption_interval: float = 10.0
    disruption_apart: float = 1.0
    disruption_validation: float = 15.0
    replacement_deadline: float = 1800.0
    consolidation_min_age: float = 300.0
    metrics_port: int = 0
    consolidation_savings: float = 0.05
    """Share of their cost, not seconds, that replacing nodes must save: less is churn."""
    drift_interval: float = 300.0
    cache_wait: float = 10.0
    termination_poll: float = 1.0
    drain_settle: float = 2.0
    eviction_backoff_max: float = 10.0
    repair_interval: float = 10.0
    repair_drain: float = 300.0
    interruption_poll: float = 2.0
    operator_grace: float = 30.0
    lease_duration: float = LEASE_DURATION
    lease_renewal: float = RENEW_DEADLINE
    lease_retry: float = RETRY_PERIOD
    launches_at_once: int = 50
    looks_at_once: int = 16
    limits: Mapping[str, int] = field(default_factory=dict)
    preference_policy: str = "Respect"
    min_values_policy: str = "Strict"
    default_spread: tuple[Spread, ...] = ()

    @property
    def purchase_rate(self) -> PurchaseRate:
        """Of a pool that says nothing else."""
        return PurchaseRate(burst=self.purchase_burst, per_minute=self.purchases_per_minute)

    @property
    def deadlines(self) -> Deadlines:
        """Of a pool that says nothing else."""
        return Deadlines(
            launch=self.launch_deadline,
            registration=self.registration_deadline,
            initialization=self.initialization_deadline,
        )
