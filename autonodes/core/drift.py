"""Drift: a claim that is no longer what its NodePool would buy now.

In this order, the first that holds counts: the template changed (its hash, if both hashes are of one version), the
pool's requirements no longer allow the node's labels, the instance type or its offering is no longer on sale at all.
What the provider itself sees (another image, another network) comes last, and is asked for elsewhere.

A label that the claim left open when it was bought is no drift as long as the pool would still leave it open; a
catalogue without any type says that the provider did not answer properly, and nothing about drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE, NODE_POOL_HASH, NODE_POOL_HASH_VERSION, WELL_KNOWN, ZONE
from autonodes.core.model import Claim, InstanceType, NodePool

NODE_POOL_DRIFTED: Final = "NodePoolDrifted"
REQUIREMENTS_DRIFTED: Final = "RequirementsDrifted"
INSTANCE_TYPE_NOT_FOUND: Final = "InstanceTypeNotFound"


@dataclass(frozen=True, slots=True)
class Drift:
    """:param reason: CamelCase, for the condition
    :param message: for people
    """

    reason: str
    message: str


def drift_of(claim: Claim, pool: NodePool, types: Sequence[InstanceType], *, hash_version: str) -> Drift | None:
    """Why a launched claim has drifted; None if it has not.

    :param types: what the pool's node class sells, the unavailable included
    :param hash_version: of ``pool.hash``
    """
    return _template(claim, pool, hash_version) or _requirements(claim, pool) or _instance_type(claim, types)


def _template(claim: Claim, pool: NodePool, hash_version: str) -> Drift | None:
    bought_as = claim.annotations.get(NODE_POOL_HASH)
    comparable = claim.annotations.get(NODE_POOL_HASH_VERSION) == hash_version
    if bought_as is None or not comparable or bought_as == pool.hash:
        return None
    return Drift(NODE_POOL_DRIFTED, f"the template of NodePool {pool.name} changed since the node was bought")


def _requirements(claim: Claim, pool: NodePool) -> Drift | None:
    for key, requirement in pool.requirements.items():
        if not _allows(claim, pool, key):
            found = claim.labels.get(key, "none")
            message = f"NodePool {pool.name} asks for {requirement}, and the node's {key} is {found}"
            return Drift(REQUIREMENTS_DRIFTED, message)
    return None


def _allows(claim: Claim, pool: NodePool, key: str) -> bool:
    requirement, value = pool.requirements.allowed(key), claim.labels.get(key)
    if value is not None or (key not in claim.requirements and key not in WELL_KNOWN):
        return requirement.has(value)
    return (pool.requirements.only((key,)) & claim.requirements.only((key,))).contradiction() is None


def _instance_type(claim: Claim, types: Sequence[InstanceType]) -> Drift | None:
    name = claim.labels.get(INSTANCE_TYPE)
    if not types or name is None:
        return None
    found = next((each for each in types if each.name == name), None)
    if found is None:
        return Drift(INSTANCE_TYPE_NOT_FOUND, f"instance type {name} is not on sale any more")
    zone, capacity_type = claim.labels.get(ZONE), claim.labels.get(CAPACITY_TYPE)
    if zone is None or capacity_type is None:
        return None
    if any((each.zone, each.capacity_type) == (zone, capacity_type) for each in found.offerings):
        return None
    message = f"instance type {name} is not on sale any more in {zone} as {capacity_type}"
    return Drift(INSTANCE_TYPE_NOT_FOUND, message)
