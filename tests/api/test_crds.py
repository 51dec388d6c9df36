"""Our CRDs against those that Karpenter publishes, field by field.

What the CEL rules do is held against each other in test_admission, on a real API server: rules of different wording may
do the same.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from autonodes.api.capacitybuffer import CapacityBuffer
from autonodes.api.crds import KINDS, OTHERS, crd, crds, other_crds
from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodeoverlay import NodeOverlay
from autonodes.api.nodepool import NodePool

Peer = Callable[[str], dict[str, Any]]

_SCHEMA = ".spec.versions[0].schema.openAPIV3Schema.properties"
_POOL = f"{_SCHEMA}.spec.properties.template.properties.spec.properties.requirements.items.properties.values"
_CLAIM = f"{_SCHEMA}.spec.properties.requirements.items.properties.values"
_SCHEDULE = f"{_SCHEMA}.spec.properties.disruption.properties.budgets.items.properties.schedule.pattern"

DELIBERATE = {
    ".metadata.annotations.controller-gen.kubebuilder.io/version": "names the generator, which is another one",
    f"{_SCHEDULE}": "theirs anchors each alternative at one end only, so that @dailyfoo passes",
    **{
        f"{path}{part}.{rule}": "theirs stands at the array, where it has no effect; ours at the items"
        for path in (_POOL, _CLAIM)
        for part in ("", ".items")
        for rule in ("maxLength", "pattern")
    },
}
"""Where ours differ, and why."""


def fields(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its path, but for descriptions and CEL rules; lists without an order as sets."""
    name = path.rpartition(".")[2]
    if isinstance(node, dict) and node:
        for key, child in node.items():
            if key == "x-kubernetes-validations" or (key == "description" and isinstance(child, str)):
                continue
            yield from fields(child, f"{path}.{key}")
    elif isinstance(node, list) and name in ("required", "enum"):
        yield path, frozenset(node)
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from fields(child, f"{path}[{index}]")
    else:
        yield path, node


@pytest.mark.parametrize("kind", [NodePool, NodeClaim, NodeOverlay, CapacityBuffer])
def test_every_field_is_as_karpenter_publishes_it(
    published_crd: Peer, kind: type[NodePool | NodeClaim | NodeOverlay | CapacityBuffer]
) -> None:
    ours, theirs = dict(fields(crd(kind))), dict(fields(published_crd(kind.plural)))
    different = {
        path: {"ours": ours.get(path), "theirs": theirs.get(path)}
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path) and path not in DELIBERATE
    }
    assert different == {}


def test_the_comparison_is_not_empty(published_crd: Peer) -> None:
    assert len(dict(fields(published_crd("nodepools")))) > 150


@pytest.mark.parametrize("plural", ["nodepools", "nodeclaims", "nodeoverlays", "capacitybuffers"])
def test_no_description_is_copied(published_crd: Peer, plural: str) -> None:
    (ours,) = (each for each in [*crds(), *other_crds()] if each["spec"]["names"]["plural"] == plural)
    theirs = {" ".join(text.split()) for text in _descriptions(published_crd(plural))}
    assert theirs.isdisjoint(_descriptions(ours))


def _descriptions(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, child in node.items():
            if key == "description" and isinstance(child, str):
                yield child
            else:
                yield from _descriptions(child)
    elif isinstance(node, list):
        for child in node:
            yield from _descriptions(child)


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_every_field_says_what_it_is_for(kind: type[NodePool]) -> None:
    schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    silent = list(_undescribed(schema["properties"]["spec"], "spec"))
    assert silent == []


def _undescribed(schema: dict[str, Any], path: str) -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        if "description" not in child and "properties" not in child:
            yield f"{path}.{name}"
        yield from _undescribed(child, f"{path}.{name}")
        yield from _undescribed(child.get("items", {}), f"{path}.{name}[]")


def test_definitions_share_nothing_and_never_change() -> None:
    first = crds()
    first[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].clear()
    assert crds() == crds()
    assert crds()[0] != first[0]


def test_the_module_prints_them_without_yaml_references() -> None:
    printed = subprocess.run([sys.executable, "-m", "autonodes.api.crds"], capture_output=True, text=True, check=True)
    assert list(yaml.safe_load_all(printed.stdout)) == crds()
    assert "&id" not in printed.stdout


def test_a_cluster_is_given_the_kinds_of_its_providers_only() -> None:
    shared = {"nodepools", "nodeclaims", "nodeoverlays"}
    assert _plurals([]) == shared
    assert _plurals(["local", "metal"]) == {*shared, "localnodeclasses", "metalnodeclasses", "baremetalhosts"}


def _plurals(providers: list[str]) -> set[str]:
    return {each["spec"]["names"]["plural"] for each in crds(providers)}
