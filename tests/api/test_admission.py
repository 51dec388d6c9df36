"""One table of manifests, three judges: our models, our CRDs and Karpenter's CRDs on a real API server."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from api.manifests import BAD, GOOD, LIKE_UPSTREAM, Case, Manifest, claim, pool
from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodepool import NodePool
from autonodes.api.validation import validate
from autonodes.core.errors import InvalidDocumentError
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import InvalidError
from autonodes.kube.resources import NODECLAIMS, NODEPOOLS, Resource
from controlplane import RunningControlPlane

OURS = {"NodePool": NODEPOOLS, "NodeClaim": NODECLAIMS}
PEERS = {kind: Resource("peer.test", resource.version, resource.plural, kind) for kind, resource in OURS.items()}
MODELS: dict[str, type[NodePool | NodeClaim]] = {"NodePool": NodePool, "NodeClaim": NodeClaim}


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_the_models_accept_what_is_good(case: Case) -> None:
    accepted = validate(MODELS[case.manifest["kind"]], case.manifest, source="test")
    assert accepted.to_model().name == "default"


@pytest.mark.parametrize("case", BAD, ids=str)
def test_the_models_refuse_what_is_bad_and_name_the_field(case: Case) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        validate(MODELS[case.manifest["kind"]], case.manifest, source="test")
    assert any(error.path.startswith(case.at) for error in caught.value.errors), str(caught.value)


@pytest.mark.integration
async def test_the_api_server_accepts_what_is_good_and_stores_what_karpenters_would(client: KubeClient) -> None:
    for case in GOOD:
        ours = await stored(client, OURS, case.manifest)
        assert ours["apiVersion"] == "karpenter.sh/v1"
        MODELS[ours["kind"]].from_api(ours).to_model()
        if case.peer:
            assert (await stored(client, PEERS, case.manifest))["spec"] == ours["spec"], case


@pytest.mark.integration
async def test_the_api_server_refuses_what_is_bad_and_names_the_field_as_the_models_do(client: KubeClient) -> None:
    for case in BAD:
        refusal = await refused(client, OURS, case.manifest)
        assert case.at in refusal, f"{case}: {refusal}"


@pytest.mark.integration
async def test_karpenters_api_refuses_the_same(client: KubeClient) -> None:
    for case in BAD:
        if case.peer:
            assert await refused(client, PEERS, case.manifest), case
        else:
            assert await stored(client, PEERS, case.manifest), case
    for case in GOOD:
        if not case.peer:
            assert await refused(client, PEERS, case.manifest), case


@pytest.mark.integration
@pytest.mark.parametrize("resources", [OURS, PEERS], ids=["ours", "karpenter's"])
@pytest.mark.parametrize(
    ("before", "patch", "at"),
    [
        (pool(), {"template": {"spec": {"nodeClassRef": {"group": "other.io"}}}}, "nodeClassRef"),
        (pool(), {"template": {"spec": {"nodeClassRef": {"kind": "OtherNodeClass"}}}}, "nodeClassRef"),
        (pool(), {"replicas": 1}, "spec"),
        (pool(replicas=1), {"replicas": None}, "spec"),
        (claim(), {"expireAfter": "1h"}, "spec"),
        (claim(), {"nodeClassRef": {"name": "other"}}, "spec"),
    ],
)
async def test_what_may_not_change_does_not(
    client: KubeClient, resources: dict[str, Resource], before: Manifest, patch: Manifest, at: str
) -> None:
    resource = resources[before["kind"]]
    await client.create(resource, before | {"apiVersion": resource.api_version})
    try:
        with pytest.raises(InvalidError, match=at):
            await client.merge_patch(resource, "default", {"spec": patch})
    finally:
        await client.delete(resource, "default")


@pytest.mark.integration
async def test_what_may_change_does(client: KubeClient) -> None:
    await client.create(NODEPOOLS, pool(replicas=1))
    patch = {"replicas": 4, "template": {"spec": {"nodeClassRef": {"name": "other"}, "requirements": []}}}
    changed = await client.merge_patch(NODEPOOLS, "default", {"spec": patch})
    assert changed["spec"]["replicas"] == 4
    assert changed["metadata"]["generation"] == 2
    await client.delete(NODEPOOLS, "default")


@pytest.mark.integration
def test_kubectl_applies_what_upstream_shows_without_a_warning(api: RunningControlPlane) -> None:
    manifests = [case.manifest | {"metadata": {"name": f"pool-{n}"}} for n, case in enumerate(LIKE_UPSTREAM)]
    printed = api.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))
    assert printed.splitlines() == [f"nodepool.karpenter.sh/pool-{n} created" for n in range(len(manifests))]
    api.kubectl("delete", "nodepools", "--all")


@pytest.mark.integration
def test_kubectl_refuses_an_unknown_key_by_its_path(api: RunningControlPlane) -> None:
    typo = pool(template={"terminationGracePeirod": "24h"})
    with pytest.raises(AssertionError, match=r'unknown field "spec\.template\.spec\.terminationGracePeirod"'):
        api.kubectl("create", "-f", "-", stdin=yaml.safe_dump(typo))


@pytest.mark.integration
async def test_kubectl_shows_the_columns_that_karpenters_users_know(
    api: RunningControlPlane, client: KubeClient
) -> None:
    await client.create(NODEPOOLS, pool(weight=7))
    await client.merge_patch(NODEPOOLS, "default", {"status": {"nodes": 2}}, subresource="status")
    labels = {
        "karpenter.sh/nodepool": "default",
        "karpenter.sh/capacity-type": "spot",
        "node.kubernetes.io/instance-type": "small",
        "topology.kubernetes.io/zone": "here",
    }
    await client.create(NODECLAIMS, claim() | {"metadata": {"name": "default-1", "labels": labels}})
    together = api.kubectl("get", "karpenter", "--no-headers").split()
    assert together[:4] == ["nodeclaim.karpenter.sh/default-1", "small", "spot", "here"]
    assert together[5:8] == ["nodepool.karpenter.sh/default", "default", "2"]
    header = api.kubectl("get", "nodepools").splitlines()[0].split()
    assert header == ["NAME", "NODECLASS", "NODES", "READY", "AGE"]
    header = api.kubectl("get", "nodeclaims", "-o", "wide").splitlines()[0].split()
    assert header == ["NAME", "TYPE", "CAPACITY", "ZONE", "NODE", "READY", "AGE",
                      "IMAGEID", "ID", "NODEPOOL", "NODECLASS", "DRIFTED"]  # fmt: skip
    await client.delete(NODECLAIMS, "default-1")
    await client.delete(NODEPOOLS, "default")


@pytest.mark.integration
def test_a_static_pool_is_scaled_by_kubectl_scale(api: RunningControlPlane) -> None:
    api.kubectl("create", "-f", "-", stdin=yaml.safe_dump(pool(replicas=1)))
    api.kubectl("scale", "nodepool/default", "--replicas=3")
    assert api.kubectl("get", "nodepool", "default", "-o", "jsonpath={.spec.replicas}") == "3"
    api.kubectl("delete", "nodepool", "default")


async def stored(client: KubeClient, resources: dict[str, Resource], manifest: Manifest) -> dict[str, Any]:
    resource = resources[manifest["kind"]]
    created = await client.create(resource, manifest | {"apiVersion": resource.api_version})
    await client.delete(resource, manifest["metadata"]["name"])
    return created


async def refused(client: KubeClient, resources: dict[str, Resource], manifest: Manifest) -> str:
    """The server's words."""
    try:
        await stored(client, resources, manifest)
    except InvalidError as error:
        return str(error)
    raise AssertionError(f"accepted: {manifest}")
