"""What a purchase's claim says."""

from __future__ import annotations

from autonodes.api.nodeclaim import NodeClaim
from autonodes.controllers.purchasing import manifest
from autonodes.core.model import Purchase
from autonodes.core.requirements import Requirement, Requirements
from controllers.claimbook import pool
from controllers.cloud import SIZES

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
