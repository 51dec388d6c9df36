"""Static pools: how many claims are missing, and which ones go when there are too many.

A static pool (with ``replicas``) has as many nodes as it says, whatever pods need. A claim that is on its way out no
longer counts as one of them, nor does one whose replacement has been written: it goes when that is ready. Both still
cost money: a limit on ``nodes`` counts them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from autonodes.core.daemons import may_run_on, overhead
from autonodes.core.disruptability import protected, protected_pod
from autonodes.core.emptiness import holds
from autonodes.core.labels import WELL_KNOWN
from autonodes.core.model import Claim, DaemonSet, NodePool, Pod, Purchase
from autonodes.core.resources import NODES


def missing(pool: NodePool, claims: Sequence[Claim], replicas: int, replaced: Collection[str] = ()) -> int:
    """How many claims are to be made now.

    :param claims: of the pool, also those that are being deleted
    :param replaced: names of those whose replacements are on their way
    """
    wanted = replicas - len(_staying(claims, replaced))
    return max(0, min(wanted, room(pool, claims, wanted)))


def room(pool: NodePool, claims: Sequence[Claim], wanted: int) -> int:
    """How many of so many claims more its limit allows."""
    return min(wanted, pool.limits.get(NODES, wanted + len(claims)) - len(claims))


def purchase(pool: NodePool, daemonsets: Iterable[DaemonSet]) -> Purchase:
    """Anything that the pool allows and that has room for the daemons."""
    daemons = [each for each in daemonsets if may_run_on(each, pool.taints, pool.requirements, WELL_KNOWN)]
    requests = {name: amount for name, amount in overhead(daemons).items() if amount > 0}
    return Purchase(pool=pool.name, pods=(), requirements=pool.requirements, requests=requests, candidates=())


def surplus(
    claims: Iterable[Claim],
    replicas: int,
    pods_on: Mapping[str, Iterable[Pod]],
    now: float,
    replaced: Collection[str] = (),
) -> tuple[Claim, ...]:
    """The claims that are too many: first those without a machine, then those with least to lose, the youngest first.

    :param pods_on: node name → the pods that are bound to it
    :param replaced: names of those whose replacements are on their way
    """
    present = _staying(claims, replaced)

    def loss(claim: Claim) -> tuple[bool, bool, int, float, str]:
        holding = [pod for pod in pods_on.get(claim.node_name or claim.name, ()) if holds(pod, now)]
        kept = protected(claim.annotations) or any(protected_pod(pod, now) for pod in holding)
        return claim.launched, kept, len(holding), -claim.created_at, claim.name

    return tuple(sorted(present, key=loss)[: max(0, len(present) - replicas)])


def _staying(claims: Iterable[Claim], replaced: Collection[str]) -> list[Claim]:
    return [claim for claim in claims if claim.deleted_at is None and claim.name not in replaced]
