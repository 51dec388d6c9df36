from __future__ import annotations

from api.manifests import IN, Manifest, claim, line
from autonodes.api.conditions import set_condition
from autonodes.api.nodeclaim import INITIALIZED, LAUNCHED, REGISTERED, NodeClaim, NodeClaimStatus
from autonodes.core.model import Taint

STORED: Manifest = claim(
    requirements=[IN, line("example.com/slots", "Gte", "2")],
    resources={"requests": {"cpu": "1500m", "memory": "1Gi"}},
    taints=[{"key": "a", "effect": "NoSchedule"}],
) | {
    "metadata": {
        "name": "default-abcde",
        "uid": "u1",
        "labels": {"karpenter.sh/nodepool": "default", "topology.kubernetes.io/zone": "here"},
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
    "status": {
        "providerID": "local://c/u1",
        "nodeName": "default-abcde",
        "imageID": "",
        "capacity": {"cpu": "2", "memory": "4Gi", "pods": "110"},
        "allocatable": {"cpu": "1900m", "memory": "3Gi", "pods": 110},
        "conditions": [
            {"type": "Launched", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z", "reason": ""},
            {"type": "Registered", "status": "Unknown", "lastTransitionTime": "2026-01-01T00:00:01Z"},
        ],
    },
}


def test_the_model_has_the_planners_units_and_the_claims_progress() -> None:
    model = NodeClaim.from_api(STORED).to_model()
    assert (model.name, model.uid, model.pool) == ("default-abcde", "u1", "default")
    assert model.requests == {"cpu": 1500, "memory": 2**30}
    assert model.capacity == {"cpu": 2000, "memory": 4 * 2**30, "pods": 110}
    assert model.allocatable == {"cpu": 1900, "memory": 3 * 2**30, "pods": 110}
    assert (model.launched, model.registered, model.initialized) == (True, False, False)
    assert (model.created_at, model.deleted_at) == (1767225600.0, None)
    assert (model.provider_id, model.node_name) == ("local://c/u1", "default-abcde")
    assert model.taints == (Taint("a", "", "NoSchedule"),)


def test_its_requirements_include_the_labels_that_the_node_will_have() -> None:
    requirements = NodeClaim.from_api(STORED).to_model().requirements
    assert requirements.allowed("topology.kubernetes.io/zone").single == "here"
    assert requirements.allowed("kubernetes.io/arch").single == "amd64"


def test_a_claim_that_is_going_has_the_time_of_its_deletion() -> None:
    going = STORED | {"metadata": STORED["metadata"] | {"deletionTimestamp": "2026-01-01T00:01:00Z"}}
    assert NodeClaim.from_api(going).to_model().deleted_at == 1767225660.0


def test_a_claim_without_a_pool_belongs_to_none() -> None:
    assert NodeClaim.from_api(claim()).pool == ""


def test_a_status_is_written_with_the_names_of_the_api() -> None:
    conditions = set_condition((), LAUNCHED, "True", now=0.0)
    status = NodeClaimStatus(provider_id="local://c/u", image_id="i", conditions=conditions)
    written = status.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert written.keys() == {"providerID", "imageID", "conditions"}
    assert NodeClaimStatus.model_validate(written) == status


def test_conditions_are_asked_by_name() -> None:
    stored = NodeClaim.from_api(STORED)
    assert [stored.condition(each) for each in (LAUNCHED, REGISTERED, INITIALIZED)] == [True, False, False]
