"""The NodePools and node classes under ``examples/`` are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from autonodes.api.consistency import check_node_pool
from autonodes.api.crds import KINDS
from autonodes.api.nodepool import NodePool
from autonodes.api.validation import validate
from controlplane import RunningControlPlane

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "nodepools").glob("*.yaml"))
MODELS = {kind.type_meta()["kind"]: kind for kind in KINDS}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_and_refers_to_a_node_class_beside_it(path: Path) -> None:
    objects = [validate(MODELS[each["kind"]], each, source=path.name) for each in documents(path)]
    classes = {(each.type_meta()["kind"], each.name) for each in objects}
    pools = [each for each in objects if isinstance(each, NodePool)]
    assert pools
    for pool in pools:
        assert check_node_pool(pool) == []
        group, kind, name = pool.spec.template.spec.node_class_ref.to_model()
        assert group == "autonodes.io"
        assert (kind, name) in classes


@pytest.mark.integration
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_applied_without_a_warning(api: RunningControlPlane, path: Path) -> None:
    printed = api.kubectl("apply", "-f", str(path))
    assert [line.rpartition(" ")[2] for line in printed.splitlines()] == ["created"] * len(documents(path))
    api.kubectl("delete", "-f", str(path))
