"""What a purchase's claim says, and when none is written."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autonodes.api.nodeclaim import NodeClaim
from autonodes.controllers.decisionlog import DecisionLog
from autonodes.controllers.expectations import Expectations
from autonodes.controllers.purchasing import Purchasing, manifest
from autonodes.core.model import Pod, PodUID, Purchase, Snapshot
from autonodes.core.money import COST
from autonodes.core.requirements import Requirement, Requirements
from autonodes.verify.cloud import SIZES
from clock import VirtualClock
from controllers.claimbook import pool

GIB = 2**30


def written(*requirements: tuple[str, str, list[str]], **template: object) -> NodeClaim:
    purchase = Purchase(
        pool="default",
        pods=(),
        requirements=Requirements(Requirement.of(*each) for each in requirements),
        requests={"cpu": 1500, "memory": 2 * GIB, "pods": 3},
        candidates=(("small", "a", "on-demand", 0.1),),
    )
    return NodeClaim.model_validate(manifest("default-abcde", purchase, pool(**template), SIZES))


def test_a_claim_carries_all_that_its_node_will_need() -> None:
    taint = {"key": "team", "value": "a", "effect": "NoSchedule"}
    claim = written(
        ("node.kubernetes.io/instance-type", "In", ["small", "medium"]),
        metadata={"labels": {"team": "a"}, "annotations": {"note": "b"}},
        taints=[taint],
        startupTaints=[{"key": "cni", "effect": "NoExecute"}],
        expireAfter="24h",
        terminationGracePeriod="1h",
    )
    assert claim.pool == "default"
    assert claim.metadata.labels == {"team": "a", "karpenter.sh/nodepool": "default"}
    assert claim.metadata.annotations["note"] == "b"
    assert {"karpenter.sh/nodepool-hash", "karpenter.sh/nodepool-hash-version"} <= set(claim.metadata.annotations)
    assert claim.metadata.finalizers == ("karpenter.sh/termination",)
    assert [(owner.kind, owner.uid) for owner in claim.metadata.owner_references] == [("NodePool", "pool-uid")]
    assert claim.spec.resources.requests == {"cpu": "1500m", "memory": "2Gi", "pods": "3"}
    assert [each.key for each in claim.spec.taints] == ["team"]
    assert [each.key for each in claim.spec.startup_taints] == ["cni"]
    assert (claim.spec.expire_after, claim.spec.termination_grace_period) == ("24h", "1h")


def test_labels_of_ones_own_are_settled_and_the_machines_are_left_to_the_provider() -> None:
    claim = written(
        ("team.example.com/name", "In", ["b", "a"]),
        ("kubernetes.io/arch", "In", ["amd64"]),
        ("topology.kubernetes.io/zone", "In", ["a"]),
    )
    assert claim.metadata.labels == {"team.example.com/name": "a", "karpenter.sh/nodepool": "default"}
    assert {each.key for each in claim.spec.requirements} == {
        "team.example.com/name",
        "kubernetes.io/arch",
        "topology.kubernetes.io/zone",
    }


def test_names_that_a_pod_refuses_are_not_asked_of_a_claim() -> None:
    claim = written(("kubernetes.io/hostname", "NotIn", ["bad-node"]), ("metadata.name", "NotIn", ["bad-node"]))
    assert not claim.spec.requirements


class Written:
    """A client that takes every claim, and what was on record when the first came."""

    def __init__(self, lines: list[str], promised: dict[PodUID, str]) -> None:
        self._lines, self._promised = lines, promised
        self.names: list[str] = []
        self.lines_before: list[str] = []
        self.promised_before: dict[PodUID, str] = {}

    async def create(self, resource: object, body: Any) -> None:
        if not self.names:
            self.lines_before, self.promised_before = list(self._lines), dict(self._promised)
        self.names.append(body["metadata"]["name"])


class Desk:
    """:param claim_of: pool of a claim that came after the snapshot was taken"""

    def __init__(self, claim_of: str | None = None) -> None:
        self.lines: list[str] = []
        self.promised: dict[PodUID, str] = {}
        self.client = Written(self.lines, self.promised)
        staying = SimpleNamespace(deletion_timestamp=None)
        come = {"new": SimpleNamespace(name="new", pool=claim_of, metadata=staying)} if claim_of else {}
        state = SimpleNamespace(nodepools={"default": pool()}, nodeclaims=SimpleNamespace(items=come))
        self.expectations = Expectations(self._exists, VirtualClock(), patience=1.0)
        self.purchasing = Purchasing(
            cast(Any, self.client),
            cast(Any, state),
            cast(Any, SimpleNamespace(check=lambda: None)),
            self.expectations,
            DecisionLog(self.lines.append, VirtualClock()),
            cast(Any, SimpleNamespace(take=lambda pool: None)),
            random.Random(1),  # noqa: S311 -- names, not secrets
        )

    async def _exists(self, name: str) -> bool:
        return name in self.client.names

    async def buy(self, *pods: str, limits: Mapping[str, int] | None = None) -> Mapping[PodUID, str]:
        """A node for each pod."""
        planned = Snapshot(
            now=0.0,
            pods=tuple(Pod(uid=PodUID(name), namespace="default", name=name, requests={}) for name in pods),
            nodes=(),
            claims=(),
            pools=(pool().to_model(),),
            instance_types={"default": SIZES},
            limits=limits or {},
        )
        purchases = tuple(
            Purchase(
                pool="default",
                pods=(PodUID(name),),
                requirements=Requirements(),
                requests={},
                candidates=(("small", "a", "on-demand", 0.1),),
            )
            for name in pods
        )
        return await self.purchasing.write(purchases, planned, self.promised.update)


@pytest.mark.parametrize(
    ("limits", "claim_of", "written"),
    [({}, "other", 1), ({}, "default", 0), ({COST: 10_000_000}, "other", 0), ({COST: 10_000_000}, None, 1)],
)
async def test_a_claim_that_the_plan_did_not_count_stops_it(
    limits: dict[str, int], claim_of: str | None, written: int
) -> None:
    """One of the same pool, always; of any pool if the whole cluster has a limit."""
    desk = Desk(claim_of)
    await desk.buy("a", limits=limits)
    assert len(desk.client.names) == written
    assert len(desk.lines) == written
    assert desk.expectations.names == frozenset(desk.client.names)


async def test_all_pods_have_their_promises_before_the_first_claim_is_there() -> None:
    """The first node may be up before the last claim is written."""
    desk = Desk()
    bought = await desk.buy(*"abcdefghijklmnopqrstuvwxyz")
    assert len(desk.client.names) == 26
    assert desk.client.promised_before == bought == desk.promised


async def test_a_purchase_is_in_the_decision_log_before_its_claim_is_there() -> None:
    desk = Desk()
    await desk.buy("a")
    assert [json.loads(line)["nodeClaim"] for line in desk.client.lines_before] == desk.client.names
