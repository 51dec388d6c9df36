"""The rate of purchases of each pool, kept where all claims are written.

What a pool may still write is remembered; a process that starts counts the claims that are there by their creation
times, so that one that dies again and again does not begin afresh each time.
"""

from __future__ import annotations

from autonodes.api.nodepool import NodePool
from autonodes.controllers.claims import created_at
from autonodes.core.clock import Clock
from autonodes.core.errors import AutonodesError
from autonodes.core.purchaserate import PurchaseRate, of_pool
from autonodes.core.tokenbucket import TokenBucket
from autonodes.kube.cluster import ClusterState


class PurchaseRateError(AutonodesError):
    """The pool has bought as fast as it may; it may again in a while."""

    def __init__(self, pool: str, rate: PurchaseRate) -> None:
        super().__init__(pool, rate)
        self.pool, self.rate = pool, rate

    def __str__(self) -> str:
        return (
            f"NodePool {self.pool} buys {self.rate.burst} nodes at once at most, and then {self.rate.per_minute} a "
            "minute: the others have to wait"
        )


class PurchaseRates:
    """:param default: of a pool that says nothing else"""

    def __init__(self, state: ClusterState, clock: Clock, default: PurchaseRate) -> None:
        self._state, self._clock, self._default = state, clock, default
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, pool: NodePool) -> None:
        """Count one more claim of the pool.

        :raises PurchaseRateError: not now
        """
        rate, _ = of_pool(pool.metadata.annotations, self._default)
        bucket = self._buckets.get(pool.metadata.uid)
        if bucket is None:
            claims = self._state.nodeclaims.items.values()
            bucket = rate.after(created_at(claim) for claim in claims if claim.pool == pool.name)
            self._buckets[pool.metadata.uid] = bucket
        if not rate.take(bucket, self._clock.now()):
            raise PurchaseRateError(pool.name, rate)
