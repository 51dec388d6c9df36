from __future__ import annotations

import pytest

from api.manifests import GOOD, Case, Manifest, line, pool, requiring
from autonodes.api.consistency import check_node_pool
from autonodes.api.nodepool import NodePool

R = "spec.template.spec.requirements"


@pytest.mark.parametrize("case", [case for case in GOOD if case.manifest["kind"] == "NodePool"], ids=str)
def test_a_good_pool_has_no_fault(case: Case) -> None:
    assert check_node_pool(NodePool.from_api(case.manifest)) == []


@pytest.mark.parametrize(
    ("document", "path", "hint"),
    [
        (requiring(line("zone", "In", "a"), line("zone", "NotIn", "a")), f"{R}[1]", "In [a]; NotIn [a]"),
        (requiring(line("a", "Gt", "5"), line("a", "Lt", "6")), f"{R}[1]", "Gt [5]; Lt [6]"),
        (requiring(line("a", "Exists"), line("a", "DoesNotExist")), f"{R}[1]", "Exists; DoesNotExist"),
        (
            requiring(line("beta.kubernetes.io/arch", "In", "amd64"), line("kubernetes.io/arch", "In", "arm64")),
            f"{R}[1]",
            "In [amd64]; In [arm64]",
        ),
        (
            pool(metadata={"labels": {"team": "a"}}, template={"requirements": [line("team", "In", "b")]}),
            f"{R}[0]",
            "label team=a",
        ),
        (
            requiring(line("a", "In", "x", "y", minValues=2), line("a", "NotIn", "y")),
            f"{R}[1]",
            "minValues is 2, but only 1",
        ),
        (requiring(line("karpenter.sh/capacity-type", "In", "ondemand")), f"{R}[0].values", "on-demand"),
        (
            requiring(line("karpenter.sh/capacity-type", "In", "spot", "x", minValues=2)),
            f"{R}[0].values",
            "only 1 exist",
        ),
        (requiring(line("a" * 64, "Exists")), f"{R}[0].key", "at most 63"),
        (requiring(line(f"{'a.' * 127}a/b", "Exists")), f"{R}[0].key", "at most 253"),
        (pool(metadata={"labels": {"a b": "x"}}), "spec.template.metadata.labels[a b]", "letters"),
        (
            pool(
                template={
                    "taints": [{"key": "a", "effect": "NoSchedule"}],
                    "startupTaints": [{"key": "a", "value": "b", "effect": "NoSchedule"}],
                }
            ),
            "spec.template.spec.startupTaints[0]",
            "stand at spec.template.spec.taints[0]",
        ),
        (pool(limits={"cpu": "-1"}), "spec.limits.cpu", "negative"),
    ],
)
def test_what_the_schema_lets_pass_and_cannot_be_is_found(document: Manifest, path: str, hint: str) -> None:
    (error,) = check_node_pool(NodePool.from_api(document))
    assert error.path == path
    assert hint in error.remedy


def test_some_known_capacity_types_are_enough() -> None:
    assert check_node_pool(NodePool.from_api(requiring(line("karpenter.sh/capacity-type", "In", "spot", "x")))) == []
