"""How good a plan is: what any plan for the same pods costs at least, and what each node was chosen over.

This is worked out only for who wants to know it (`autonodes plan`, a benchmark); buying does not pay for it.

The bound (see `bound`) holds for every plan that buys nodes for the pods that this one buys nodes for, expendable ones
apart. `MODELLED` says what it takes into account; what it doesn't could only make plans dearer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from autonodes.core.bitsets import bits
from autonodes.core.bound import bound
from autonodes.core.caps import Counter
from autonodes.core.catalog import Catalog, Row, build_catalog
from autonodes.core.lanes import Lanes
from autonodes.core.model import Plan, Purchase, Snapshot
from autonodes.core.packing import Demand, Problem, Supply
from autonodes.core.resources import Resources, add
from autonodes.core.selection import Groups
from autonodes.core.shapes import Shape, group, is_expendable
from autonodes.core.standing import stand
from autonodes.core.topology import register

MODELLED: Final = (
    "resources of each pod on whole nodes, pods themselves included",
    "what the system and the DaemonSets keep of each node",
    "node selectors, required node affinity, taints, and what NodePools allow",
    "prices and availability of offerings, in each zone",
    "host ports, hostname anti-affinity and hostname spread, as the most equal pods of a node",
)
"""What the lower bound takes into account."""

MOST_CAPS: Final = 8
"""Rules about single nodes in the bound, those that force the most nodes."""


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The type that a node would have had next.

    :param price: dollars an hour of its cheapest offering that was looked at; None if no price is known
    :param why: it lost, for people to read
    """

    instance_type: str
    price: float | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """:param cost: dollars an hour of the plan
    :param lower_bound: dollars an hour of no plan for the same pods is below it
    :param models: what the bound takes into account
    :param runners_up: of each purchase, in their order; None where there is only one type
    """

    cost: float
    lower_bound: float
    models: tuple[str, ...]
    runners_up: tuple[RunnerUp | None, ...]

    @property
    def gap(self) -> float:
        """By which share the plan costs more than the bound; 0 if there is nothing to buy."""
        return self.cost / self.lower_bound - 1 if self.lower_bound > 0 else 0.0


def prove(snapshot: Snapshot, plan: Plan) -> Proof:
    """
    :param plan: of this snapshot
    """
    catalog, pods = build_catalog(snapshot), {pod.uid: pod for pod in snapshot.pods}
    runners = _RunnersUp(catalog)
    return Proof(
        cost=plan.cost,
        lower_bound=bound(problem(snapshot, plan)).value,
        models=MODELLED,
        runners_up=tuple(
            runners.of(purchase, [pods[uid].requests for uid in purchase.pods if uid in pods])
            for purchase in plan.purchases
        ),
    )


def problem(snapshot: Snapshot, plan: Plan) -> Problem:
    """What the plan buys nodes for, and all that it could buy, as a packing without what the bound does not model."""
    uids = {uid for purchase in plan.purchases for uid in purchase.pods}
    bought = [pod for pod in snapshot.pods if pod.uid in uids and not is_expendable(pod)]
    catalog = build_catalog(snapshot)
    groups = Groups(snapshot.namespaces)
    register(bought, groups)
    groups.bind(stand(snapshot).kept_out())
    lanes, kinds = Lanes(catalog, snapshot.pools), dict[int, int]()
    counts: dict[tuple[int, tuple[tuple[str, int], ...], frozenset[Counter]], int] = defaultdict(int)
    shapes = group(bought, groups)
    caps = _caps(shapes)
    for shape in shapes:
        rows = 0
        for lane in lanes.of(shape):
            rows |= lane.rows & catalog.buyable
        limited = frozenset(counter for counter, _ in shape.caps.limits if counter in caps) & shape.caps.counts
        requests = tuple(sorted(shape.requests.items()))
        counts[kinds.setdefault(rows, len(kinds)), requests, limited] += len(shape.pods)
    names = sorted({name for shape in shapes for name in shape.requests})
    demands = [
        Demand(
            (*(dict(requests).get(name, 0) for name in names), *(int(each in limited) for each in caps)), count, kind
        )
        for (kind, requests, limited), count in counts.items()
    ]
    return Problem(demands, _supplies(catalog, names, kinds, tuple(caps.values())))


def _caps(shapes: Iterable[Shape]) -> Mapping[Counter, int]:
    """The most pods of a node that count for a counter and are limited by it, for the counters that force most."""
    most: dict[Counter, int] = {}
    pods: dict[Counter, int] = defaultdict(int)
    for shape in shapes:
        for counter, limit in shape.caps.limits:
            if counter in shape.caps.counts:
                most[counter] = max(limit, most.get(counter, 0))
                pods[counter] += len(shape.pods)
    forcing = sorted(most, key=lambda counter: -pods[counter] / max(1, most[counter]))
    return {counter: most[counter] for counter in forcing[:MOST_CAPS]}


def _supplies(catalog: Catalog, names: Sequence[str], kinds: Mapping[int, int], caps: tuple[int, ...]) -> list[Supply]:
    suits: dict[int, int] = defaultdict(int)
    for rows, kind in kinds.items():
        for index in bits(rows):
            suits[index] |= 1 << kind
    found: dict[object, Supply] = {}
    for index in sorted(suits):
        row = catalog.rows[index]
        room = (*(row.room.get(name, 0) for name in names), *caps)
        found.setdefault((room, suits[index]), Supply(room, row.price, suits[index]))
    return list(found.values())


class _RunnersUp:
    """Each kind of purchase is looked at once."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: dict[object, RunnerUp | None] = {}

    def of(self, purchase: Purchase, requests: Sequence[Resources]) -> RunnerUp | None:
        load = add(*requests)
        key = (purchase.pool, purchase.candidates, tuple(sorted(load.items())))
        if key not in self._known:
            self._known[key] = self._next_candidate(purchase) or self._next_row(purchase, load)
        return self._known[key]

    def _next_candidate(self, purchase: Purchase) -> RunnerUp | None:
        bought = purchase.candidates[0]
        for name, _, _, price in purchase.candidates:
            if name != bought[0]:
                more = price - bought[3]
                return RunnerUp(name, price, f"costs ${more:.4f}/h more" if more > 0 else "costs the same, by name")
        return None

    def _next_row(self, purchase: Purchase, load: Resources) -> RunnerUp | None:
        """The cheapest type of the pool that was none of the candidates, and what ruled it out."""
        mine = {name for name, *_ in purchase.candidates}
        for row in self._catalog.select(self._catalog.labels.of_pool(purchase.pool)):
            if row.type.name not in mine and row.offering.price is not None:
                return RunnerUp(row.type.name, row.price, _why(row, load))
        return None


def _why(row: Row, load: Resources) -> str:
    lacking = [name for name in sorted(load) if load[name] > row.room.get(name, 0)]
    if lacking:
        return f"does not hold the pods: too little {', '.join(lacking)}"
    if not row.buyable:
        return "is not available now"
    unasked = sorted(name for name in row.devices if not load.get(name))
    if unasked:
        return f"has {', '.join(unasked)} that no pod asks for"
    return "does not meet the pods' requirements, or a limit"
