from __future__ import annotations

from typing import Any

import pytest

from api.manifests import IN, REFERENCE, Manifest, budget, line, pool, requiring, taint
from autonodes.api.nodeclass import LocalNodeClass
from autonodes.api.nodepool import NodePool
from autonodes.api.validation import nearest, render_path, validate
from autonodes.core.errors import ConfigError, InvalidDocumentError


def errors(document: object, model: type[Any] = NodePool) -> list[ConfigError]:
    with pytest.raises(InvalidDocumentError) as caught:
        validate(model, document, source="pool.yaml")
    return list(caught.value.errors)


def with_key(path: str, value: object) -> Manifest:
    """A good pool with one more key at ``path``."""
    document = pool(metadata={"labels": {}}, disruption={"consolidateAfter": "1m"})
    *parents, key = path.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    place[key] = value
    return document


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("specs", 'did you mean "spec"'),
        ("metadata.lables", 'did you mean "labels"'),
        ("spec.template.spec.terminationGracePeirod", 'did you mean "terminationGracePeriod"'),
        ("spec.template.spec.node_class_ref", 'did you mean "nodeClassRef"'),
        ("spec.template.spec.startuptaints", 'did you mean "startupTaints"'),
        ("spec.disruption.budget", 'did you mean "budgets"'),
        ("spec.requirements", "it belongs at spec.template.spec.requirements"),
        ("spec.expireAfter", "it belongs at spec.template.spec.expireAfter"),
        ("spec.provider", "known here are disruption, limits, replicas, template, weight"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(path: str, hint: str) -> None:
    (error,) = errors(with_key(path, "x"))
    assert (error.path, error.value) == (path, "x")
    assert hint in error.remedy


@pytest.mark.parametrize(
    ("document", "path", "value", "hint"),
    [
        (requiring(line("a", "in", "b")), "spec.template.spec.requirements[0].operator", "in", "did you mean In?"),
        (requiring(IN, line("a", "In")), "spec.template.spec.requirements[1].values", None, "at least one value"),
        (requiring(line("a", "Gt", "x")), "spec.template.spec.requirements[0].values", ["x"], "a whole number"),
        (requiring(line("a", "In", 2)), "spec.template.spec.requirements[0].values[0]", 2, 'in quotes, "2"'),
        (requiring(line("a", "In", True)), "spec.template.spec.requirements[0].values[0]", True, 'in quotes, "true"'),
        (requiring(line("a", "Exists", minValues=51)), "spec.template.spec.requirements[0].minValues", 51, "1 to 50"),
        (pool(weight=101), "spec.weight", 101, "a whole number from 1 to 100"),
        (pool(weight="10"), "spec.weight", "10", "without quotes: 10"),
        (pool(replicas=-1), "spec.replicas", -1, "at least 0"),
        (pool(limits={"cpu": 1.5}), "spec.limits.cpu", 1.5, 'in quotes, "1.5"'),
        (pool(limits={"nvidia.com/gpu": "x"}), "spec.limits[nvidia.com/gpu]", "x", "write a number"),
        (pool(limits=["cpu"]), "spec.limits", ["cpu"], "key: value"),
        (pool(template={"taints": "no"}), "spec.template.spec.taints", "no", "start with -"),
        (pool(template={"expireAfter": "30d"}), "spec.template.spec.expireAfter", "30d", "or Never"),
        (budget(nodes="110%"), "spec.disruption.budgets[0].nodes", "110%", "from 0% to 100%"),
        (
            budget(nodes="1", schedule="0 25 * * *", duration="1h"),
            "spec.disruption.budgets[0].schedule",
            "0 25 * * *",
            "the hour '25' is not within 0-23",
        ),
        (budget(nodes="1", schedule="@daily"), "spec.disruption.budgets[0].duration", None, "both or neither"),
        (budget(nodes="1", reasons=["empty"]), "spec.disruption.budgets[0].reasons[0]", "empty", "did you mean Empty?"),
        (taint(effect="NoScheduling"), "spec.template.spec.taints[0].effect", "NoScheduling", "mean NoSchedule?"),
        (
            pool(metadata={"labels": {"kubernetes.io/hostname": "x"}}),
            "spec.template.metadata.labels[kubernetes.io/hostname]",
            "x",
            "use another label",
        ),
        (pool(disruption={"consolidateAfter": 30}), "spec.disruption.consolidateAfter", 30, "such as 30s"),
        (taint(key=""), "spec.template.spec.taints[0].key", "", "must not be empty"),
        (pool() | {"kind": "Nodepool"}, "kind", "Nodepool", "did you mean NodePool?"),
        ("just text", "(document)", "just text", "key: value"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_path_and_what_to_write(
    document: object, path: str, value: object, hint: str
) -> None:
    (error,) = errors(document)
    assert (error.path, error.value) == (path, value)
    assert hint in error.remedy


def test_a_missing_field_is_named_with_its_purpose() -> None:
    document = pool()
    del document["spec"]["template"]["spec"]["nodeClassRef"]
    (error,) = errors(document)
    assert error.path == "spec.template.spec.nodeClassRef"
    assert error.remedy == "it is required (the node class that describes the machines)"


def test_all_that_is_wrong_is_told_at_once_and_with_the_source() -> None:
    document = pool(weight=0, template={"nodeClassRef": REFERENCE | {"nam": "x"}, "expireAfter": "soon"})
    with pytest.raises(InvalidDocumentError) as caught:
        validate(NodePool, document, source="pool.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("pool.yaml: spec.") for line in lines)


def test_the_error_shows_a_long_value_only_in_part() -> None:
    (error,) = errors(pool(template={"expireAfter": "1h " * 1000}))
    assert len(str(error)) < 300


def test_node_classes_are_checked_alike() -> None:
    size = {"name": "small", "cpu": "1", "memory": "1Gi", "price": 0.1}
    good = {"apiVersion": "autonodes.io/v1alpha1", "kind": "LocalNodeClass", "spec": {"instanceTypes": [size]}}
    assert validate(LocalNodeClass, good, source="x").spec.instance_types[0].pods == 110
    del size["price"]
    (error,) = errors(good, LocalNodeClass)
    assert error.path == "spec.instanceTypes[0].price"
    assert "required" in error.remedy


def test_paths_are_written_as_a_user_would() -> None:
    assert render_path(["spec", "a", 0, "b-c", "nvidia.com/gpu", 3]) == "spec.a[0].b-c[nvidia.com/gpu][3]"


def test_nearest_prefers_the_closest_and_gives_up_on_strangers() -> None:
    assert nearest("LIMIT", ["limits", "weight"]) == "limits"
    assert nearest("zzz", ["limits", "weight"]) is None
