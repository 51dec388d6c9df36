"""Storage from the API to the model, and caches that run only while a pod needs them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autonodes.controllers.clock import SystemClock
from autonodes.core.labels import REGION, ZONE
from autonodes.core.storage import PodVolume, Storage
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.decoding import decode_pod
from autonodes.kube.resources import CSINODES, PODS, PVCS, PVS, STORAGECLASSES
from autonodes.kube.storage import decode_claim, decode_csinode, decode_storage_class, decode_volume
from kube.conftest import pod
from kube.waiting import running, until

GI = 2**30


def raw(metadata: dict[str, Any], **rest: Any) -> bytes:
    return json.dumps({"metadata": {"name": "x", **metadata}, **rest}).encode()


def test_a_claim_says_what_scheduling_needs_of_it() -> None:
    metadata = {
        "namespace": "shop",
        "annotations": {"pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/selected-node": "n1"},
        "ownerReferences": [{"kind": "Pod", "name": "p", "uid": "u1", "controller": True}],
    }
    spec = {
        "volumeName": "pv-1",
        "storageClassName": "fast",
        "accessModes": ["ReadWriteOncePod"],
        "resources": {"requests": {"storage": "2Gi"}},
    }
    claim = decode_claim(raw(metadata, spec=spec, status={"phase": "Bound"}))
    assert claim.key == "shop/x"
    assert (claim.volume, claim.bound, claim.lost, claim.leaving) == ("pv-1", True, False, False)
    assert (claim.storage_class, claim.storage, claim.once_per_pod) == ("fast", 2 * GI, True)
    assert (claim.selected_node, claim.owner) == ("n1", "u1")


def test_a_claim_without_a_class_is_not_one_that_wants_none() -> None:
    assert decode_claim(raw({}, spec={})).storage_class is None
    assert decode_claim(raw({}, spec={"storageClassName": ""})).storage_class == ""


def test_a_volume_is_reached_where_its_affinity_and_its_labels_say() -> None:
    affinity = {"nodeSelectorTerms": [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["a", "b"]}]}]}
    labels = {ZONE: "a__c", "failure-domain.beta.kubernetes.io/region": "r"}
    spec = {"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "v"}, "nodeAffinity": {"required": affinity}}
    volume = decode_volume(raw({"labels": labels}, spec={**spec, "capacity": {"storage": "1Gi"}}))
    (term,) = volume.terms
    assert term.satisfied_by({ZONE: "a", REGION: "r"})
    assert not term.satisfied_by({ZONE: "b", REGION: "r"})
    assert not term.satisfied_by({ZONE: "c", REGION: "r"})
    assert (volume.driver, volume.free, volume.storage) == ("ebs.csi.aws.com", True, GI)


def test_a_volume_without_affinity_is_reached_from_everywhere() -> None:
    volume = decode_volume(raw({}, spec={"nfs": {}, "claimRef": {"name": "c"}}))
    assert (volume.terms, volume.driver, volume.free) == ((), "", False)


def test_a_volume_of_an_old_plugin_belongs_to_the_driver_that_followed() -> None:
    assert decode_volume(raw({}, spec={"awsElasticBlockStore": {"volumeID": "v"}})).driver == "ebs.csi.aws.com"
    assert decode_storage_class(raw({}, provisioner="kubernetes.io/gce-pd")).driver == "pd.csi.storage.gke.io"


def test_a_class_binds_at_once_unless_it_says_otherwise() -> None:
    assert decode_storage_class(raw({}, provisioner="p")).immediate
    topologies = [{"matchLabelExpressions": [{"key": ZONE, "values": ["a"]}]}, {"matchLabelExpressions": []}]
    waiting = decode_storage_class(
        raw(
            {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            provisioner="kubernetes.io/no-provisioner",
            volumeBindingMode="WaitForFirstConsumer",
            allowedTopologies=topologies,
        )
    )
    assert (waiting.immediate, waiting.provisions, waiting.default) == (False, False, True)
    assert [str(term) for term in waiting.terms] == [f"{ZONE} In [a]"]


def test_a_driver_without_a_count_has_no_limit() -> None:
    drivers = [
        {"name": "a", "nodeID": "n", "allocatable": {"count": 25}},
        {"name": "b", "nodeID": "n", "allocatable": {}},
        {"name": "c", "nodeID": "n"},
    ]
    assert decode_csinode(raw({}, spec={"drivers": drivers})) == {"a": 25}
    assert decode_csinode(raw({}, spec={"drivers": None})) == {}


def test_a_pod_s_volumes_are_those_with_a_claim() -> None:
    template = {"volumeClaimTemplate": {"spec": {"storageClassName": "fast", "resources": {}}}}
    volumes = [
        {"name": "conf", "configMap": {"name": "c"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "d"}},
        {"name": "scratch", "ephemeral": template},
    ]
    body = {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
        "spec": {"containers": [], "volumes": volumes},
    }
    assert decode_pod(json.dumps(body).encode()).volumes == (
        PodVolume("data", "d"),
        PodVolume("scratch", "web-scratch", True, "fast"),
    )


@pytest.mark.integration
@pytest.mark.usefixtures("installed")
async def test_storage_is_watched_only_while_a_pod_waits_for_it(client: KubeClient, namespace: str, node: str) -> None:
    await _create_storage(client, namespace, node)
    state, clock = ClusterState(client, SystemClock()), SystemClock()
    async with running(state.run()):
        await until(lambda: state.fresh(clock.now()))
        assert not state.storage.needed
        assert state.storage.contents() == Storage()
        changes: list[None] = []
        state.storage.subscribe(lambda: changes.append(None))
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        await client.create(PODS, pod("a", volumes=volumes), namespace)
        await until(lambda: len(state.storage.needed) == 4)
        await until(lambda: state.fresh(clock.now()))
        there = state.storage.contents()
        assert there.claims[f"{namespace}/data"].storage_class == f"{namespace}-class"
        assert there.volumes[f"{namespace}-pv"].driver == "d.example.com"
        assert not there.classes[f"{namespace}-class"].immediate
        assert there.attach_limits[node] == {"d.example.com": 7}
        before = len(changes)
        await client.create(PVCS, _claim("more", namespace), namespace)
        await until(lambda: len(changes) > before)


@pytest.mark.integration
@pytest.mark.usefixtures("installed")
async def test_nothing_is_decided_before_the_storage_is_known(client: KubeClient, namespace: str) -> None:
    state, clock = ClusterState(client, SystemClock()), SystemClock()
    async with running(state.run()):
        await until(lambda: state.fresh(clock.now()))
        seen: list[bool] = []
        state.pods.subscribe(lambda change: seen.append(state.fresh(clock.now())))
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        await client.create(PODS, pod("a", volumes=volumes), namespace)
        await until(lambda: bool(seen))
        assert seen[0] is False
        await until(lambda: state.fresh(clock.now()))


def _claim(name: str, namespace: str) -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": f"{namespace}-class",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return {"metadata": {"name": name}, "spec": spec}


async def _create_storage(client: KubeClient, namespace: str, node: str) -> None:
    storage_class = {
        "metadata": {"name": f"{namespace}-class"},
        "provisioner": "d.example.com",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    volume = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "csi": {"driver": "d.example.com", "volumeHandle": "v"},
    }
    driver = {"name": "d.example.com", "nodeID": node, "topologyKeys": None, "allocatable": {"count": 7}}
    await client.create(STORAGECLASSES, storage_class)
    await client.create(PVS, {"metadata": {"name": f"{namespace}-pv"}, "spec": volume})
    await client.create(PVCS, _claim("data", namespace), namespace)
    await client.create(CSINODES, {"metadata": {"name": node}, "spec": {"drivers": [driver]}})
