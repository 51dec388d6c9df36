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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from autonodes.core.buying import Purchasing, Waiting
from autonodes.core.caps import Counter
from autonodes.core.catalog import Catalog, build_catalog
from autonodes.core.census import Census
from autonodes.core.deviceplanning import place_with_devices, plan_with_devices
from autonodes.core.domains import Domains
from autonodes.core.gangs import plan_groups
from autonodes.core.lanes import Lanes
from autonodes.core.lessons import Lessons
from autonodes.core.limits import Charges
from autonodes.core.model import Plan, Pod, PodUID, Reason, Snapshot
from autonodes.core.placing import Placing
from autonodes.core.purchases import Purchases
from autonodes.core.reasons import Reasons, expendable, invalid, too_little_choice
from autonodes.core.refining import refine
from autonodes.core.selection import Groups
from autonodes.core.shapes import Shape, group, in_order, is_planned
from autonodes.core.standing import Standing, Targets, stand
from autonodes.core.topology import register

MOST_ATTEMPTS: Final = 4
"""Plans that are made before what has no place is left without one."""


def plan(snapshot: Snapshot) -> Plan:
    """What to buy for the pods that wait, where they go, and why the others can't."""
    return plan_groups(snapshot, lambda part: plan_with_devices(part, _plan_pods))


@dataclass(frozen=True, slots=True)
class Scene:
    """What one plan is about.

    :param snapshot: says what can be bought, and what was promised; who waits and what is there the rest says
    :param lanes: of the catalogue
    :param charges: what is used of the limits by what stands
    :param waiting: the pods to be planned, in the order in which they are served
    :param gone: mask of the places that are thought away
    """

    snapshot: Snapshot
    catalog: Catalog
    lanes: Lanes
    standing: Standing
    charges: Charges
    waiting: Sequence[Pod]
    gone: int = 0

    @property
    def respects_preferences(self) -> bool:
        return self.snapshot.preference_policy == "Respect"

    @property
    def preferred_lanes(self) -> Lanes:
        return self.lanes.avoiding if self.respects_preferences else self.lanes


def open_scene(snapshot: Snapshot) -> Scene:
    catalog = build_catalog(snapshot)
    waiting = in_order(filter(is_planned, snapshot.pods))
    standing = stand(snapshot)
    charges = Charges(snapshot, catalog, standing)
    return Scene(snapshot, catalog, Lanes(catalog, snapshot.pools), standing, charges, waiting)


def _plan_pods(snapshot: Snapshot) -> Plan:
    """One by one, whatever group they are in."""
    return plan_scene(open_scene(snapshot))


def plan_scene(scene: Scene) -> Plan:
    """The plan for pods of which none is in a group or claims devices.

    Where pods that were told a domain find no place there, it is told to fewer the next time.
    """
    lessons = Lessons()
    for _ in range(MOST_ATTEMPTS):
        plan, anything_new = _attempt(scene, lessons)
        if not anything_new:
            break
    return plan


def _attempt(scene: Scene, lessons: Lessons) -> tuple[Plan, bool]:
    """:return: the plan, and whether another one may be better"""
    stage = _Stage(scene, lessons)
    needed, spare = stage.place()
    purchasing = _buy(scene, needed, spare, stage.placing.counters)
    writer = Purchases(scene.catalog, purchasing.ledger)
    purchases = writer.write(purchasing.bins.bins)
    bought = {uid for purchase in purchases for uid in purchase.pods}
    reasons = Reasons(scene.catalog, scene.snapshot.pools, purchasing.ledger)
    unplaced = {pod.uid: invalid(pod.fault) for pod in scene.waiting if pod.fault}
    unplaced.update(stage.domains.refused)
    unplaced.update({uid: lessons.why[shape] for uid, shape in stage.domains.full.items()})
    left = {**_unplaced([*needed, *spare], bought, reasons), **_short(writer.short)}
    unplaced.update(left)
    plan = Plan(purchases=purchases, placements=stage.placing.placements, unplaced=unplaced)
    return plan, lessons.learn(stage.domains, stage.census, left, purchases, scene.snapshot.pools)


def _short(pods: Mapping[PodUID, str]) -> Mapping[PodUID, tuple[Reason, ...]]:
    return {uid: (too_little_choice(pool),) for uid, pool in pods.items()}


def place(snapshot: Snapshot) -> Mapping[PodUID, str]:
    """Only what needs no purchase: pods that wait, and the node or claim in flight that each will go to."""
    return place_with_devices(snapshot, _place_pods)


def _place_pods(snapshot: Snapshot) -> Mapping[PodUID, str]:
    stage = _Stage(open_scene(snapshot), Lessons())
    stage.place()
    return stage.placing.placements


class _Stage:
    """What is there, and the pods that wait: first they are told their domains, then nodes and claims take in what they
    can."""

    def __init__(self, scene: Scene, lessons: Lessons) -> None:
        snapshot, waiting = scene.snapshot, [pod for pod in scene.waiting if not pod.fault]
        groups = Groups(snapshot.namespaces)
        respect = scene.respects_preferences
        register(waiting, groups, respect=respect)
        groups.bind(scene.standing.kept_out(scene.gone))
        targets = Targets(scene.standing, groups, scene.gone)
        self.census = Census(scene.standing, groups, scene.gone, lessons.made)
        self._nominations = snapshot.nominations
        self._shapes = group(waiting, groups, respect=respect)
        self.domains = Domains(
            scene.catalog,
            scene.lanes,
            snapshot.pools,
            targets,
            groups,
            self.census,
            preferred_lanes=scene.preferred_lanes,
            ceilings=lessons.ceilings,
            even=lessons.even,
        )
        self.placing = Placing(targets, self.census, respect=respect)

    def place(self) -> tuple[list[Shape], list[Shape]]:
        """Expendable pods come last: they must not take a place that would save a purchase.

        :return: the shapes that are left and those of them that are expendable
        """
        self.placing.keep_promises(self._shapes, self._nominations)
        needed = self.domains.resolve(shape for shape in self._shapes if not shape.expendable)
        self.placing.place(needed)
        spare = self.domains.resolve(shape for shape in self._shapes if shape.expendable)
        self.placing.place(spare)
        return needed, spare


def _buy(scene: Scene, needed: Iterable[Shape], spare: Iterable[Shape], rooted: frozenset[Counter]) -> Purchasing:
    pools = scene.snapshot.pools
    waiting: Waiting = {shape: len(shape.pods) for shape in needed if shape.pods}
    purchasing = _purchasing(scene)
    left = purchasing.buy(waiting, rooted)
    if left and purchasing.ledger.left and len({shape.priority for shape in waiting}) > 1:
        purchasing = _purchasing(scene)
        purchasing.buy_by_priority(waiting, rooted)
    seconds = max((pool.planning_deadline for pool in pools), default=0.0)
    if seconds and not left:
        lanes = scene.lanes if purchasing.relaxed else scene.preferred_lanes
        purchasing = refine(purchasing, _purchasing(scene), lanes, rooted, seconds)
    for shape in spare:
        if shape.pods:
            purchasing.join(shape, len(shape.pods))
    return purchasing


def _purchasing(scene: Scene) -> Purchasing:
    ledger = scene.charges.ledger(scene.gone)
    return Purchasing(scene.catalog, scene.lanes, scene.snapshot.pools, ledger, avoiding=scene.preferred_lanes)


def _unplaced(shapes: Iterable[Shape], bought: set[PodUID], reasons: Reasons) -> Mapping[PodUID, tuple[Reason, ...]]:
    unplaced = {}
    for shape in shapes:
        left: list[Pod] = [pod for pod in shape.pods if pod.uid not in bought]
        if left:
            why = expendable() if shape.expendable else reasons.of(shape)
            unplaced.update({pod.uid: why for pod in left})
    return unplaced
