from __future__ import annotations

from dataclasses import replace

from autonodes.core.drift import drift_of
from autonodes.core.labels import NODE_POOL_HASH, NODE_POOL_HASH_VERSION
from autonodes.core.model import Claim, InstanceType, NodePool
from core.parts import claim, machine, pool, requirements

SMALL = machine("small")


def reason(of: Claim, by: NodePool, *types: InstanceType) -> str | None:
    found = drift_of(of, by, types or (SMALL,), hash_version="v1")
    return found.reason if found else None


def bought(hash_: str, version: str = "v1") -> Claim:
    return claim("n1", annotations={NODE_POOL_HASH: hash_, NODE_POOL_HASH_VERSION: version})


def test_a_changed_template_is_drift_if_the_hashes_can_be_compared() -> None:
    assert reason(bought("old"), pool(hash="new")) == "NodePoolDrifted"
    assert reason(bought("same"), pool(hash="same")) is None
    assert reason(bought("old", "v0"), pool(hash="new")) is None
    assert reason(claim("by-hand"), pool(hash="new")) is None


def test_labels_that_the_pool_no_longer_allows_are_drift() -> None:
    zone = "topology.kubernetes.io/zone"
    assert reason(claim("n1"), pool("default", f"{zone} In z1 z2")) is None
    assert reason(claim("n1"), pool("default", f"{zone} In z2")) == "RequirementsDrifted"
    assert reason(claim("n1"), pool("default", "team In a")) == "RequirementsDrifted"
    assert reason(claim("n1"), pool("default", "team NotIn a")) is None


def test_what_the_claim_left_open_is_no_drift_as_long_as_the_pool_leaves_it_open() -> None:
    open_claim = replace(claim("n1"), requirements=requirements("team In a b"))
    assert reason(open_claim, pool("default", "team In a b")) is None
    assert reason(open_claim, pool("default", "team In b c")) is None
    assert reason(open_claim, pool("default", "team In c")) == "RequirementsDrifted"
    assert reason(claim("n1"), pool("default", "kubernetes.io/arch In arm64")) is None


def test_a_type_that_is_no_longer_on_sale_is_drift_and_one_that_is_sold_out_is_not() -> None:
    assert reason(claim("n1"), pool(), machine("other")) == "InstanceTypeNotFound"
    assert reason(claim("n1"), pool(), machine("small", zones=("z2",))) == "InstanceTypeNotFound"
    assert reason(claim("n1"), pool(), machine("small", available=False)) is None


def test_an_empty_catalogue_says_nothing() -> None:
    assert drift_of(claim("n1"), pool(), (), hash_version="v1") is None
