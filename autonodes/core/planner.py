"""The planner: from a snapshot to what is bought and what goes where. A pure function.

In this order: promises of earlier plans are kept; pods with constraints on zones and other domains are told theirs
(`domains`), while those on single nodes hold wherever pods are put (`caps`); what fits onto existing nodes and claims
in flight is placed there; for the rest nodes are bought (see `buying` and `greedy`, and `refining` if a pool allows it
time); expendable pods fill what is left over on any of these; for what has no place the reasons are given. Everything
is done once a shape and not once a pod, and every tie is broken by price, name or the order of the pods, so that the
same snapshot always gives the same plan. Groups of pods that are of use only together are seen to around all this
(`gangs`), and so are claims for devices (`deviceplanning`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from autonodes.core.buying import Purchasing, Waiting
from autonodes.core.caps import Counter
from autonodes.core.catalog import Catalog, build_catalog
from autonodes.core.census import Census, inverse
from autonodes.core.deviceplanning import place_with_devices, plan_with_devices
from autonodes.core.domains import Domains
from autonodes.core.gangs import plan_groups
from autonodes.core.lanes import Lanes
from autonodes.core.limits import open_ledger
from autonodes.core.model import Plan, Pod, PodUID, Reason, Snapshot
from autonodes.core.placing import Placing
from autonodes.core.purchases import Purchases
from autonodes.core.reasons import Reasons, expendable, invalid
from autonodes.core.refining import refine
from autonodes.core.selection import Groups
from autonodes.core.shapes import Shape, group, in_order, is_planned
from autonodes.core.targets import Usage, find_targets
from autonodes.core.topology import register

MOST_ATTEMPTS: Final = 4
"""Plans that are made before what has no place is left without one."""


def plan(snapshot: Snapshot) -> Plan:
    """What to buy for the pods that wait, where they go, and why the others can't."""
    return plan_groups(snapshot, lambda part: plan_with_devices(part, _plan_pods))


def _plan_pods(snapshot: Snapshot) -> Plan:
    """One by one, whatever group they are in.

    Where pods that were told a domain find no place there, it is told to fewer the next time.
    """
    waiting = in_order(pod for pod in snapshot.pods if is_planned(pod))
    ceilings: dict[object, int] = {}
    for _ in range(MOST_ATTEMPTS):
        plan, lower = _attempt(snapshot, waiting, ceilings)
        if not lower:
            break
        ceilings.update(lower)
    return plan


def _attempt(
    snapshot: Snapshot, waiting: Sequence[Pod], ceilings: Mapping[object, int]
) -> tuple[Plan, Mapping[object, int]]:
    """:return: the plan, and how many pods of which pinned shapes found a place, where not all did"""
    catalog = build_catalog(snapshot)
    stage = _Stage(snapshot, catalog, [pod for pod in waiting if not pod.fault], ceilings)
    needed, spare = stage.place()
    purchasing = _buy(snapshot, catalog, needed, spare, stage.rooted)
    purchases = Purchases(catalog, purchasing.ledger).write(purchasing.bins.bins)
    bought = {uid for purchase in purchases for uid in purchase.pods}
    reasons = Reasons(catalog, snapshot.pools, purchasing.ledger)
    unplaced = {pod.uid: invalid(pod.fault) for pod in waiting if pod.fault}
    unplaced.update(stage.domains.refused)
    left = _unplaced([*needed, *spare], bought, reasons)
    unplaced.update(left)
    plan = Plan(purchases=purchases, placements=stage.placing.placements, unplaced=unplaced)
    return plan, _achieved(stage.domains.pinned, left) if left else {}


def _achieved(pinned: Mapping[object, Sequence[Pod]], left: Collection[PodUID]) -> Mapping[object, int]:
    placed = {key: sum(pod.uid not in left for pod in pods) for key, pods in pinned.items()}
    return {key: count for key, count in placed.items() if count < len(pinned[key])}


def place(snapshot: Snapshot) -> Mapping[PodUID, str]:
    """Only what needs no purchase: pods that wait, and the node or claim in flight that each will go to."""
    return place_with_devices(snapshot, _place_pods)


def _place_pods(snapshot: Snapshot) -> Mapping[PodUID, str]:
    waiting = in_order(pod for pod in snapshot.pods if is_planned(pod) and not pod.fault)
    stage = _Stage(snapshot, build_catalog(snapshot), waiting, {})
    stage.place()
    return stage.placing.placements


class _Stage:
    """What is there, and the pods that wait: first they are told their domains, then nodes and claims take in what they
    can."""

    def __init__(
        self, snapshot: Snapshot, catalog: Catalog, waiting: Sequence[Pod], ceilings: Mapping[object, int]
    ) -> None:
        usage, groups = Usage(snapshot.pods), Groups(snapshot.namespaces)
        respect = snapshot.preference_policy == "Respect"
        register((*waiting, *inverse(usage)), groups, respect=respect)
        targets = find_targets(snapshot, catalog, usage)
        census = Census(snapshot, groups, usage, targets)
        lanes = Lanes(catalog, snapshot.pools)
        self._snapshot, self._census = snapshot, census
        self._shapes = group(waiting, groups, respect=respect)
        self.domains = Domains(catalog, lanes, snapshot.pools, targets, groups, census, ceilings)
        self.placing = Placing(targets, census)

    @property
    def rooted(self) -> frozenset[Counter]:
        """The counters to which some pod adds that has a node."""
        return self.placing.counters | self._census.present

    def place(self) -> tuple[list[Shape], list[Shape]]:
        """Expendable pods come last: they must not take a place that would save a purchase.

        :return: the shapes that are left and those of them that are expendable
        """
        self.placing.keep_promises(self._shapes, self._snapshot.nominations)
        needed = self.domains.resolve(shape for shape in self._shapes if not shape.expendable)
        self.placing.place(needed)
        spare = self.domains.resolve(shape for shape in self._shapes if shape.expendable)
        self.placing.place(spare)
        return needed, spare


def _buy(
    snapshot: Snapshot, catalog: Catalog, needed: Iterable[Shape], spare: Iterable[Shape], rooted: frozenset[Counter]
) -> Purchasing:
    lanes = Lanes(catalog, snapshot.pools)
    waiting: Waiting = {shape: len(shape.pods) for shape in needed if shape.pods}
    purchasing = Purchasing(catalog, lanes, snapshot.pools, open_ledger(snapshot, catalog))
    left = purchasing.buy(waiting, rooted)
    if left and purchasing.ledger.left and len({shape.priority for shape in waiting}) > 1:
        purchasing = Purchasing(catalog, lanes, snapshot.pools, open_ledger(snapshot, catalog))
        purchasing.buy_by_priority(waiting, rooted)
    seconds = max((pool.planning_deadline for pool in snapshot.pools), default=0.0)
    if seconds and not left:
        attempt = Purchasing(catalog, lanes, snapshot.pools, open_ledger(snapshot, catalog))
        purchasing = refine(purchasing, attempt, lanes, rooted, seconds)
    for shape in spare:
        if shape.pods:
            purchasing.join(shape, len(shape.pods))
    return purchasing


def _unplaced(shapes: Iterable[Shape], bought: set[PodUID], reasons: Reasons) -> Mapping[PodUID, tuple[Reason, ...]]:
    unplaced = {}
    for shape in shapes:
        left: list[Pod] = [pod for pod in shape.pods if pod.uid not in bought]
        if left:
            why = expendable() if shape.expendable else reasons.of(shape)
            unplaced.update({pod.uid: why for pod in left})
    return unplaced
