"""Static pools: how many claims are missing, and which ones go when there are too many.

A static pool (with ``replicas``) has as many nodes as it says, whatever pods need. A claim that is on its way out no
longer counts as one of them, but it still costs money: a limit on ``nodes`` counts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from autonodes.core.disruptability import protected, protected_pod
from autonodes.core.emptiness import holds
from autonodes.core.model import Claim, NodePool, Pod
from autonodes.core.resources import NODES


def missing(pool: NodePool, claims: Sequence[Claim], replicas: int) -> int:
    """How many claims are to be made now.

    :param claims: of the pool, also those that are being deleted
    """
    present = sum(1 for claim in claims if claim.deleted_at is None)
    allowed = pool.limits.get(NODES, replicas + len(claims)) - len(claims)
    return max(0, min(replicas - present, allowed))


def surplus(
    claims: Iterable[Claim], replicas: int, pods_on: Mapping[str, Iterable[Pod]], now: float
) -> tuple[Claim, ...]:
    """The claims that are too many: first those without a machine, then those with least to lose, the youngest first.

    :param pods_on: node name → the pods that are bound to it
    """
    present = [claim for claim in claims if claim.deleted_at is None]

    def loss(claim: Claim) -> tuple[bool, bool, int, float, str]:
        holding = [pod for pod in pods_on.get(claim.node_name or claim.name, ()) if holds(pod, now)]
        kept = protected(claim.annotations) or any(protected_pod(pod, now) for pod in holding)
        return claim.launched, kept, len(holding), -claim.created_at, claim.name

    return tuple(sorted(present, key=loss)[: max(0, len(present) - replicas)])
