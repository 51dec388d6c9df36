from __future__ import annotations

from typing import Any

import pytest

from autonodes.api.nodeclass import KwokNodeClass, LocalNodeClass
from autonodes.api.validation import validate
from autonodes.core.errors import InvalidDocumentError
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import InvalidError
from autonodes.kube.resources import node_class

SIZE = {"name": "small", "cpu": "500m", "memory": "1Gi", "price": 0.01}
MODELS = {"LocalNodeClass": LocalNodeClass, "KwokNodeClass": KwokNodeClass}


def of(kind: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "autonodes.io/v1alpha1", "kind": kind, "metadata": {"name": "default"}, "spec": spec}


GOOD = [
    *(of(kind) for kind in MODELS),
    *(of(kind, instanceTypes=[SIZE, SIZE | {"name": "b", "cpu": 2, "price": 0}], zones=["x", "y"]) for kind in MODELS),
    of("KwokNodeClass", soldOut=[{}, {"zone": "x", "capacityType": "spot"}]),
    of("KwokNodeClass", instanceTypes=[SIZE | {"arch": "arm64", "os": "windows", "capacityTypes": ["spot"]}]),
]
BAD = [
    *((of(kind, instanceTypes=[{**SIZE, field: value}]), f"spec.instanceTypes[0].{field}")
      for kind in MODELS
      for field, value in (("name", "a b"), ("name", ""), ("cpu", "x"), ("memory", "1 Gi"), ("price", -1),
                           ("price", "1"), ("pods", 0), ("pods", 1025))),
    (of("LocalNodeClass", instanceTypes=[{"name": "a", "cpu": 1, "memory": "1Gi"}]), "spec.instanceTypes[0].price"),
    (of("LocalNodeClass", zones=["a b"]), "spec.zones[0]"),
    (of("KwokNodeClass", soldOut=[{"capacityType": "free"}]), "spec.soldOut[0].capacityType"),
    (of("KwokNodeClass", instanceTypes=[SIZE | {"capacityTypes": []}]), "spec.instanceTypes[0].capacityTypes"),
]  # fmt: skip


@pytest.mark.parametrize("document", GOOD, ids=str)
def test_what_is_good_is_accepted(document: dict[str, Any]) -> None:
    assert validate(MODELS[document["kind"]], document, source="x").name == "default"


@pytest.mark.parametrize(("document", "at"), BAD, ids=str)
def test_what_is_bad_is_refused_by_its_path(document: dict[str, Any], at: str) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        validate(MODELS[document["kind"]], document, source="x")
    assert {error.path for error in caught.value.errors} == {at}


@pytest.mark.integration
async def test_the_api_server_judges_alike(client: KubeClient) -> None:
    for document in GOOD:
        stored = await client.create(node_class(document["kind"]), document)
        assert MODELS[document["kind"]].from_api(stored).name == "default"
        await client.delete(node_class(document["kind"]), "default")
    for document, at in BAD:
        with pytest.raises(InvalidError) as caught:
            await client.create(node_class(document["kind"]), document)
        assert at in str(caught.value)


@pytest.mark.integration
@pytest.mark.parametrize("kind", MODELS)
async def test_two_types_of_one_name_are_refused(client: KubeClient, kind: str) -> None:
    with pytest.raises(InvalidError, match=r"spec\.instanceTypes\[1\]"):
        await client.create(node_class(kind), of(kind, instanceTypes=[SIZE, SIZE]))
