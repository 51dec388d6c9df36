"""From a plan to NodeClaims: the intents are written, nothing is bought yet.

The plan keeps the pools' limits, counted on its snapshot. So before each claim is written it is asked again whether
what was counted still holds: the pool is as it was, and no claim of it (with limits of the cluster: of any pool) has
come from anywhere else. If not, the rest of the plan is dropped and made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodepool import HASH_VERSION, NodePool
from autonodes.controllers.claims import has_ended
from autonodes.controllers.decisionlog import DecisionLog
from autonodes.controllers.expectations import Expectations
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.purchaserates import PurchaseRateError, PurchaseRates
from autonodes.core import labels
from autonodes.core.errors import AutonodesError
from autonodes.core.model import InstanceType, PodUID, Purchase, Resources, Snapshot
from autonodes.core.narration import Decision
from autonodes.core.quantities import format_resources
from autonodes.core.requirements import FIELD_NAME
from autonodes.core.volumes import is_attachment
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import AlreadyExistsError, ApiError, ApiUnreachableError, NotFoundError, ServerError
from autonodes.kube.resources import NODECLAIMS

log = logging.getLogger(__name__)

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own for generated names: no vowels, so no words."""

_LONGEST_POOL: Final = 57
"""Characters of the pool's name in a claim's, so that the whole fits into the label ``kubernetes.io/hostname``."""

_AT_ONCE: Final = 16

_NAMES: Final = frozenset({labels.HOSTNAME, FIELD_NAME})
"""A pod may refuse nodes by name; a new one has none of these names, and no claim may ask for one."""


class Purchasing:
    def __init__(
        self,
        client: KubeClient,
        state: ClusterState,
        freeze: Freeze,
        expectations: Expectations,
        decisions: DecisionLog,
        rates: PurchaseRates,
        names: random.Random,
    ) -> None:
        self._client, self._state, self._freeze, self._rates = client, state, freeze, rates
        self._expectations, self._decisions, self._names = expectations, decisions, names
        self.held_back: dict[str, str] = {}
        """Pool → why not all of what was last asked for was written."""

    async def write(
        self,
        purchases: tuple[Purchase, ...],
        snapshot: Snapshot,
        promise: Callable[[Mapping[PodUID, str]], None] = lambda promises: None,
        *,
        counted: set[str] | None = None,
    ) -> Mapping[PodUID, str]:
        """Write a claim for each purchase, as long as what was counted holds.

        :param promise: told, for each pod, of the claim that it shall have, strictly before the first of them is there:
            the first node may be up before the last claim is written
        :param counted: names of the claims that were counted, to which those that are written are added: for what was
            decided together and is written in several calls; None for the snapshot's
        :return: pod → name of the claim that is bought for it
        """
        gate = asyncio.Semaphore(_AT_ONCE)
        known = {claim.name for claim in snapshot.claims} if counted is None else counted
        names = [self._name(purchase.pool) for purchase in purchases]
        for name in names:
            self._expectations.expect(name)
        promise({uid: name for purchase, name in zip(purchases, names, strict=True) for uid in purchase.pods})

        async def one(purchase: Purchase, first: str, decision: Decision) -> Mapping[PodUID, str]:
            def told(name: str) -> None:
                self._decisions.buying(decision, name)
                if name != first:
                    promise(dict.fromkeys(purchase.pods, name))

            async with gate:
                name = await self._claim(purchase, first, snapshot, known, told)
                return dict.fromkeys(purchase.pods, name) if name else {}

        nominations: dict[PodUID, str] = {}
        self.held_back = {}
        writing = map(one, purchases, names, self._decisions.purchases(snapshot, purchases))
        for outcome in await asyncio.gather(*writing, return_exceptions=True):
            if isinstance(outcome, PurchaseRateError):
                self.held_back[outcome.pool] = str(outcome)
            elif isinstance(outcome, ApiError):
                log.warning("a NodeClaim could not be written: %s", outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                nominations.update(outcome)
        return nominations

    async def _claim(
        self, purchase: Purchase, name: str, snapshot: Snapshot, counted: set[str], told: Callable[[str], None]
    ) -> str | None:
        try:
            pool = self._permitted(purchase, snapshot, counted)
        except AutonodesError:
            self._expectations.observe(name)
            raise
        if pool is None:
            log.info("the plan for pool %s is out of date: it is made anew", purchase.pool)
            self._expectations.observe(name)
            return None
        name = await self._written(purchase, name, pool, snapshot.instance_types[pool.name], counted, told)
        log.info("NodeClaim %s for %d pods, from $%.4f/h", name, len(purchase.pods), purchase.price)
        return name

    def _permitted(self, purchase: Purchase, snapshot: Snapshot, counted: set[str]) -> NodePool | None:
        """The pool; None if what was counted does not hold any more.

        :raises FrozenError: nothing may be bought now
        :raises PurchaseRateError: not from this pool
        """
        self._freeze.check()
        pool = self._state.nodepools.get(purchase.pool)
        if pool is None or not self._still_holds(pool, snapshot, counted):
            return None
        self._rates.take(pool)
        return pool

    async def write_one(self, purchase: Purchase, pool: NodePool, instance_types: Iterable[InstanceType]) -> str:
        """Write a claim that no plan has counted: of a static pool.

        :return: its name
        :raises PurchaseRateError: not now
        :raises ApiError: it was not written, or that can't be known yet
        """
        self._rates.take(pool)
        told = partial(self._decisions.filling, pool.name)
        return await self._written(purchase, self._name(pool.name), pool, instance_types, set(), told)

    async def _written(
        self,
        purchase: Purchase,
        name: str,
        pool: NodePool,
        instance_types: Iterable[InstanceType],
        counted: set[str],
        told: Callable[[str], None],
    ) -> str:
        """:param told: of the name, strictly before the claim is there"""
        while True:
            counted.add(name)
            told(name)
            with contextlib.suppress(AlreadyExistsError):
                await self._create(name, manifest(name, purchase, pool, instance_types))
                return name
            name = self._name(pool.name)

    def _still_holds(self, pool: NodePool, snapshot: Snapshot, counted: set[str]) -> bool:
        known = (*snapshot.pools, *snapshot.static_pools)
        planned = next(each for each in known if each.name == pool.name)
        if pool.metadata.deletion_timestamp is not None or pool.to_model() != planned:
            return False
        others = (
            claim.name
            for claim in self._state.nodeclaims.items.values()
            if (claim.pool == pool.name or snapshot.limits) and not has_ended(claim)
        )
        return counted.issuperset(others)

    async def _create(self, name: str, body: Mapping[str, Any]) -> None:
        self._expectations.expect(name)
        try:
            await self._client.create(NODECLAIMS, body)
        except (ApiUnreachableError, ServerError):
            await self._reconcile_doubt(name)
        except ApiError:
            self._expectations.observe(name)
            raise

    async def _reconcile_doubt(self, name: str) -> None:
        """It may have been written or not: the expectation stays until that is known.

        :raises ApiError: it was not written, or that can't be known yet
        """
        try:
            await self._client.get(NODECLAIMS, name)
        except NotFoundError:
            self._expectations.observe(name)
            raise

    def _name(self, pool: str) -> str:
        suffix = "".join(self._names.choices(_ALPHABET, k=5))
        return f"{pool[:_LONGEST_POOL].rstrip('-.')}-{suffix}"


def _requests(purchase: Purchase) -> Resources:
    """Those that a machine can be asked for."""
    return {name: amount for name, amount in purchase.requests.items() if not is_attachment(name)}


def manifest(name: str, purchase: Purchase, pool: NodePool, instance_types: Iterable[InstanceType]) -> dict[str, Any]:
    """The NodeClaim of a purchase.

    :param instance_types: the pool's; the labels that they define are the machine's, all others are settled here
    """
    template = pool.spec.template
    requirements = purchase.requirements.without(_NAMES)
    decided = labels.WELL_KNOWN.union(*(each.requirements for each in instance_types))
    return {
        **NodeClaim.type_meta(),
        "metadata": {
            "name": name,
            "labels": {
                **requirements.labels(but=decided),
                **template.metadata.labels,
                labels.NODE_POOL: pool.name,
            },
            "annotations": {
                **template.metadata.annotations,
                labels.NODE_POOL_HASH: pool.hash(),
                labels.NODE_POOL_HASH_VERSION: HASH_VERSION,
                **purchase.annotations,
                **({labels.POD_GROUP: ",".join(purchase.groups)} if purchase.groups else {}),
            },
            "finalizers": [labels.TERMINATION_FINALIZER],
            "ownerReferences": [
                {
                    "apiVersion": pool.api_version,
                    "kind": pool.kind,
                    "name": pool.name,
                    "uid": pool.metadata.uid,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            **template.spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"requirements"}),
            "requirements": requirements.to_list(),
            "resources": {"requests": format_resources(_requests(purchase))},
        },
    }
