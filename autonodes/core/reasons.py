"""Why a pod got no node: for each pool the first thing that rules it out, in words that name the field and the value.

Made only for what is left over, once a shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from autonodes.core.bitsets import union
from autonodes.core.catalog import Catalog
from autonodes.core.domainreasons import AFFINITY
from autonodes.core.hostports import first_conflict, format_port
from autonodes.core.labels import HOSTNAME
from autonodes.core.limits import Ledger
from autonodes.core.model import NodePool, Reason
from autonodes.core.quantities import format_resource
from autonodes.core.requirements import Conflict, Requirements
from autonodes.core.resources import Resources
from autonodes.core.shapes import Shape
from autonodes.core.taints import format_taint, untolerated

INVALID_POD: Final = "InvalidPod"
EXPENDABLE: Final = "Expendable"
NO_NODE_POOL: Final = "NoNodePool"
POOL_NOT_READY: Final = "NodePoolNotReady"
UNTOLERATED_TAINT: Final = "UntoleratedTaint"
INCOMPATIBLE_REQUIREMENTS: Final = "IncompatibleRequirements"
INSUFFICIENT_RESOURCES: Final = "InsufficientResources"
HOST_PORT_CONFLICT: Final = "HostPortConflict"
NO_OFFERING: Final = "NoOffering"
MIN_VALUES: Final = "MinValues"
LIMIT_EXCEEDED: Final = "LimitExceeded"


def invalid(fault: str) -> tuple[Reason, ...]:
    return (Reason(pool="", code=INVALID_POD, text=fault),)


def expendable() -> tuple[Reason, ...]:
    text = "expendable: waits for room on a node that other pods need; none is bought for it"
    return (Reason(pool="", code=EXPENDABLE, text=text),)


_TOO_LITTLE_CHOICE: Final = "what would do offers fewer values than the NodePool's minValues ask for"


def too_little_choice(pool: str) -> Reason:
    return Reason(pool=pool, code=MIN_VALUES, text=_TOO_LITTLE_CHOICE)


class Reasons:
    """:param ledger: as the plan left it"""

    def __init__(self, catalog: Catalog, pools: Iterable[NodePool], ledger: Ledger) -> None:
        self._catalog = catalog
        self._pools = sorted(pools, key=lambda pool: (-pool.weight, pool.name))
        self._ledger = ledger

    def of(self, shape: Shape) -> tuple[Reason, ...]:
        """One a pool, in the order in which pools are tried."""
        if not self._pools:
            return (Reason(pool="", code=NO_NODE_POOL, text="there is no NodePool to buy a node from"),)
        return tuple(self._in_pool(pool, shape) for pool in self._pools)

    def _in_pool(self, pool: NodePool, shape: Shape) -> Reason:
        code, text = self._first(pool, shape)
        return Reason(pool=pool.name, code=code, text=text)

    def _first(self, pool: NodePool, shape: Shape) -> tuple[str, str]:
        if not pool.ready:
            return POOL_NOT_READY, "the NodePool is not ready; its conditions say why"
        taint = untolerated(pool.taints, shape.tolerations)
        if taint is not None:
            return UNTOLERATED_TAINT, f"did not tolerate taint (taint={format_taint(taint)})"
        of_pool = self._catalog.labels.of_pool(pool.name)
        if not of_pool:
            return NO_OFFERING, "no instance type of its node class meets the NodePool's own requirements"
        rows = union(self._catalog.labels.satisfying(pool.name, term) for term in shape.terms)
        if not rows:
            return INCOMPATIBLE_REQUIREMENTS, self._incompatible(pool, shape.terms)
        return self._beyond_labels(pool, shape, rows)

    def _beyond_labels(self, pool: NodePool, shape: Shape, rows: int) -> tuple[str, str]:
        holding = rows & self._catalog.with_room(shape.requests)
        if not holding:
            return INSUFFICIENT_RESOURCES, self._too_large(shape.requests, rows)
        taken = {port for row in self._catalog.select(holding) for port in row.ports}
        port = first_conflict(shape.host_ports, taken)
        if port is not None and all(
            first_conflict(shape.host_ports, row.ports) for row in self._catalog.select(holding)
        ):
            return HOST_PORT_CONFLICT, f"host port {format_port(port)} is taken by a DaemonSet"
        buyable = holding & self._catalog.buyable
        if not buyable:
            return NO_OFFERING, self._not_offered(holding)
        if not buyable & ~self._ledger.reservations.exhausted:
            return NO_OFFERING, "the reservations that would do take no more machines"
        if not self._catalog.enough(pool.name, buyable):
            return MIN_VALUES, _TOO_LITTLE_CHOICE
        over = self._ledger.exceeded(self._catalog.cheapest(buyable))
        if shape.caps.needs and not over:
            return (
                AFFINITY,
                f"pod affinity by {HOSTNAME}: no node that would do has, or could have, a pod that it selects",
            )
        return LIMIT_EXCEEDED, f"limit exceeded ({'; '.join(over)})" if over else "limit exceeded"

    def _incompatible(self, pool: NodePool, terms: Sequence[Requirements]) -> str:
        texts = (str(self._conflict(pool, term) or _not_at_once(term)) for term in terms)
        return "; or ".join(dict.fromkeys(texts))

    def _conflict(self, pool: NodePool, term: Requirements) -> Conflict | None:
        """With the pool itself; else the first key of which no instance type has what is asked; else none."""
        contradiction = term.contradiction()
        if contradiction is not None:
            return Conflict(contradiction.key, None, contradiction)
        by_pool = pool.requirements.conflict(term.only(pool.requirements))
        if by_pool is not None:
            return by_pool
        labels = self._catalog.labels
        unmet = next((key for key in term if not labels.satisfying(pool.name, term.only((key,)))), None)
        if unmet is None:
            return None
        return Conflict(unmet, labels.offered(pool.name, unmet), term[unmet], tuple(labels.keys(pool.name)))

    def _too_large(self, requests: Resources, rows: int) -> str:
        """Names the resources of which no machine has enough; if each has a machine, all that is asked for."""
        largest = {
            name: max((row.room.get(name, 0) for row in self._catalog.select(rows)), default=0)
            for name in sorted(requests)
        }
        lacking = [name for name, most in largest.items() if most < requests[name]]
        names = lacking or [name for name in largest if name != "pods"]
        requested = ", ".join(f"{name}={format_resource(name, requests[name])}" for name in names)
        most = ", ".join(f"{name}={format_resource(name, max(0, largest[name]))}" for name in names)
        return (
            f"no instance type has enough resources (requested {requested}; "
            f"largest after DaemonSets {most}{'' if lacking else ', but not on one machine'})"
        )

    def _not_offered(self, rows: int) -> str:
        listed = list(self._catalog.select(rows))
        if all(min(row.room.values(), default=0) < 0 for row in listed):
            return "the DaemonSets alone are too large for every machine that would do"
        unpriced = sum(1 for row in listed if row.offering.price is None)
        if unpriced == len(listed):
            return f"no price is known for any of the {unpriced} offerings that would do"
        return f"none of the {len(listed)} offerings that would do is available now"


def _not_at_once(term: Requirements) -> str:
    return f"no instance type has all of {term} at once"
