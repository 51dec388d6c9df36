from __future__ import annotations

from typing import Any

import pytest

from api.manifests import IN, LIKE_UPSTREAM, REFERENCE, Manifest, line, pool
from autonodes.api.nodepool import NodePool
from autonodes.core.errors import ConfigError
from autonodes.core.model import Budget, Taint
from autonodes.core.money import COST
from autonodes.core.requirements import Requirements

RICH = {case.title: case.manifest for case in LIKE_UPSTREAM}["everything at once"]


def from_api(document: Manifest, **metadata: Any) -> NodePool:
    return NodePool.from_api(document | {"metadata": {"name": "default", **metadata}})


def ready(document: Manifest) -> Manifest:
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return document | {"status": {"conditions": [condition]}}


def test_the_model_has_the_planners_units() -> None:
    model = from_api(RICH, uid="u1").to_model()
    assert (model.name, model.uid, model.weight) == ("default", "u1", 10)
    assert model.limits == {"cpu": 1_000_000, "memory": 1000 * 2**30, "nodes": 50, "nvidia.com/gpu": 2}
    assert model.taints == (Taint("example.com/special-taint", "", "NoSchedule"),)
    assert model.startup_taints == (Taint("example.com/another-taint", "x", "NoExecute"),)
    assert (model.consolidate_after, model.expire_after, model.termination_grace_period) == (60, None, 172800)
    assert model.node_class == ("karpenter.k8s.aws", "EC2NodeClass", "default")


def test_requirements_and_labels_are_one_algebra_with_the_pool_and_the_node_class_in_it() -> None:
    requirements = from_api(RICH).to_model().requirements
    assert requirements.allowed("billing-team").single == "my-team"
    assert requirements.allowed("karpenter.sh/nodepool").single == "default"
    assert requirements.allowed("karpenter.k8s.aws/ec2nodeclass").single == "default"
    assert requirements.allowed("karpenter.k8s.aws/instance-category").min_values == 2
    assert [n for n in range(12) if requirements.allowed("example.com/slots").has(str(n))] == [2, 3, 4, 5, 6, 7, 8]
    assert requirements.compatible(Requirements.from_labels({"karpenter.sh/nodepool": "default"}))
    assert not requirements.compatible(Requirements.from_labels({"karpenter.sh/nodepool": "other"}))


def test_an_operator_ignores_values_that_mean_nothing_to_it() -> None:
    document = pool(template={"requirements": [line("a", "Exists", "x"), line("b", "NotIn")]})
    requirements = from_api(document).to_model().requirements
    assert requirements.allowed("a").has("y")
    assert requirements.allowed("b").universal


def test_defaults_are_those_of_the_schema() -> None:
    model = from_api(pool()).to_model()
    assert (model.consolidation_policy, model.consolidate_after) == ("WhenEmptyOrUnderutilized", 0)
    assert (model.expire_after, model.termination_grace_period) == (2592000, None)
    assert from_api(pool()).spec.disruption.budgets[0].nodes == "10%"


def test_only_a_ready_pool_that_stays_and_has_no_fixed_size_buys_for_pods() -> None:
    assert from_api(ready(pool())).to_model().ready
    assert not from_api(pool()).to_model().ready
    assert not from_api(ready(pool()), deletionTimestamp="2026-01-01T00:00:00Z").to_model().ready
    assert not from_api(ready(pool(replicas=1))).to_model().ready


def test_fields_of_a_newer_schema_are_passed_over() -> None:
    document = pool(future={"x": 1}) | {"status": {"nodes": 2, "future": True}}
    assert from_api(document, future="x").status.nodes == 2


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {"a": "b"}}},
        {"metadata": {"annotations": {"a": "b"}}},
        {"template": {"taints": [{"key": "a", "effect": "NoSchedule"}]}},
        {"template": {"startupTaints": [{"key": "a", "effect": "NoSchedule"}]}},
        {"template": {"expireAfter": "1h"}},
        {"template": {"expireAfter": "Never"}},
        {"template": {"terminationGracePeriod": "1h"}},
        {"template": {"nodeClassRef": REFERENCE | {"name": "other"}}},
    ],
)
def test_each_static_field_of_the_template_changes_the_hash(change: Manifest) -> None:
    assert from_api(pool(**change)).hash() != from_api(pool()).hash()


@pytest.mark.parametrize(
    "change",
    [
        {"template": {"requirements": [IN, line("a", "Exists")]}},
        {"template": {"expireAfter": "43200m"}},
        {"template": {"taints": []}},
        {"weight": 3},
        {"limits": {"cpu": "1"}},
        {"disruption": {"consolidateAfter": "Never", "budgets": [{"nodes": "0"}]}},
    ],
)
def test_requirements_notation_and_what_is_not_in_the_template_do_not_change_the_hash(change: Manifest) -> None:
    assert from_api(pool(**change)).hash() == from_api(pool()).hash()


def test_the_order_of_taints_and_labels_does_not_change_the_hash() -> None:
    one, two = {"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}
    first = pool(metadata={"labels": {"x": "1", "y": "2"}}, template={"taints": [one, two]})
    second = pool(metadata={"labels": {"y": "2", "x": "1"}}, template={"taints": [two, one]})
    assert from_api(first).hash() == from_api(second).hash()


def test_the_hash_is_the_same_in_every_process() -> None:
    assert from_api(RICH).hash() == "9ea3d8f0516883eb"


def test_budgets_are_those_that_were_asked_for() -> None:
    given = [{"nodes": "2", "reasons": ["Drifted"]}, {"nodes": "0", "schedule": "@daily", "duration": "8h"}]
    disruption = {"consolidateAfter": "0s", "budgets": given}
    assert from_api(pool(disruption=disruption)).to_model().budgets == (
        Budget(nodes="2", reasons=("Drifted",)),
        Budget(nodes="0", schedule="@daily", duration=8 * 3600.0),
    )


def test_a_manifest_comes_out_as_it_went_in_but_for_quantities_which_are_strings() -> None:
    limits = {name: str(amount) for name, amount in RICH["spec"]["limits"].items()}
    assert NodePool.model_validate(RICH).manifest() == RICH | {"spec": RICH["spec"] | {"limits": limits}}


def test_annotations_limit_what_its_nodes_may_cost() -> None:
    limited = from_api(pool(), annotations={"autonodes.io/max-hourly-cost": "12.5"})
    assert limited.to_model().limits == {COST: 12_500_000}


def test_an_annotation_that_says_no_number_of_dollars_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max-hourly-cost\]: '\$5': write dollars"):
        from_api(pool(), annotations={"autonodes.io/max-hourly-cost": "$5"}).to_model()


def test_an_annotation_gives_a_plan_time() -> None:
    assert from_api(pool()).to_model().planning_deadline == 0
    assert from_api(pool(), annotations={"autonodes.io/planning-deadline": "1m"}).to_model().planning_deadline == 60


@pytest.mark.parametrize("text", ["soon", "Never", "2m", "-1s", "5"])
def test_a_planning_deadline_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="planning-deadline"):
        from_api(pool(), annotations={"autonodes.io/planning-deadline": text}).to_model()
