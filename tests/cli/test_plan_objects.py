"""What stands around the pods in the files of `autonodes plan`: volumes, devices, claims in flight, room for others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from autonodes.cli.plan import plan

Document = dict[str, Any]

CATALOG = "[{name: small, cpu: 4, memory: 16Gi, price: 0.1, zones: [a, b]}]"
ZONE = "topology.kubernetes.io/zone"


def obj(version: str, kind: str, name: str, **fields: Any) -> Document:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


def pod_spec(cpu: str = "1", **spec: Any) -> Document:
    return {"containers": [{"name": "main", "image": "x", "resources": {"requests": {"cpu": cpu}}}], **spec}


def mounting(name: str, claim: str) -> Document:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
    return obj("v1", "Pod", name, spec=pod_spec(volumes=[volume]))


def claim(name: str, **spec: Any) -> Document:
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}
    return obj("v1", "PersistentVolumeClaim", name, spec={**asked, **spec})


def volume(name: str, zone: str, **spec: Any) -> Document:
    term = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}
    reachable = {"required": {"nodeSelectorTerms": [term]}}
    return obj(
        "v1", "PersistentVolume", name, spec={"capacity": {"storage": "10Gi"}, "nodeAffinity": reachable, **spec}
    )


def storage_class(name: str, zone: str, *, mode: str = "WaitForFirstConsumer", **metadata: Any) -> Document:
    allowed = [{"matchLabelExpressions": [{"key": ZONE, "values": [zone]}]}]
    found = obj("storage.k8s.io/v1", "StorageClass", name, provisioner="disk.example.com", volumeBindingMode=mode)
    return {**found, "metadata": {"name": name, **metadata}, "allowedTopologies": allowed}


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    path = tmp_path / "types.yaml"
    path.write_text(CATALOG)
    return path


def planned(catalog: Path, *documents: Document, types: str = "", code: int = 0) -> Any:
    if types:
        catalog.write_text(types)
    arguments = ["-f", "-", "--catalog", str(catalog), "-o", "json", "--deadline", "0"]
    result = CliRunner().invoke(plan, arguments, input=yaml.safe_dump_all(documents), standalone_mode=False)
    assert result.exception is None, result.exception
    assert result.return_value == code, result.stdout
    return json.loads(result.stdout)


class TestVolumes:
    def test_a_pod_goes_where_its_volume_is(self, catalog: Path) -> None:
        bound = claim("data", volumeName="disk", storageClassName="")
        (node,) = planned(catalog, mounting("db", "data"), bound, volume("disk", "b"))["nodes"]
        assert node["zone"] == "b"

    def test_a_volume_that_names_its_claim_is_bound_to_it(self, catalog: Path) -> None:
        given = volume("disk", "b", claimRef={"name": "data", "namespace": "default"})
        (node,) = planned(catalog, mounting("db", "data"), claim("data", storageClassName=""), given)["nodes"]
        assert node["zone"] == "b"

    def test_a_claim_gets_the_smallest_volume_of_its_class_that_lies_ready(self, catalog: Path) -> None:
        ready = [
            volume("large", "a", storageClassName="manual", capacity={"storage": "90Gi"}),
            volume("fits", "b", storageClassName="manual"),
            volume("small", "a", storageClassName="manual", capacity={"storage": "1Gi"}),
        ]
        (node,) = planned(catalog, mounting("db", "data"), claim("data", storageClassName="manual"), *ready)["nodes"]
        assert node["zone"] == "b"

    @pytest.mark.parametrize("mode", ["WaitForFirstConsumer", "Immediate"])
    def test_a_storage_class_says_where_volumes_can_be_made(self, catalog: Path, mode: str) -> None:
        given = storage_class("fast", "b", mode=mode)
        found = planned(catalog, mounting("db", "data"), claim("data", storageClassName="fast"), given)
        assert [node["zone"] for node in found["nodes"]] == ["b"]
        assert any("binds at once" in note for note in found["notes"]) == (mode == "Immediate")

    def test_each_replica_of_a_stateful_set_has_claims_of_its_own(self, catalog: Path) -> None:
        default = {"storageclass.kubernetes.io/is-default-class": "true"}
        template = {"metadata": {"name": "data"}, "spec": claim("data")["spec"]}
        spec = {"replicas": 2, "template": {"spec": pod_spec()}, "volumeClaimTemplates": [template]}
        documents = [obj("apps/v1", "StatefulSet", "db", spec=spec), storage_class("fast", "b", annotations=default)]
        taken = claim("data-db-1", volumeName="disk")
        found = planned(catalog, *documents, taken, volume("disk", "a"))
        places = {name: node["zone"] for node in found["nodes"] for name in node["pods"]}
        assert places == {"default/db-0": "b", "default/db-1": "a"}
        assert found["notes"] == []

    def test_what_is_not_given_is_taken_to_be_there_and_noted(self, catalog: Path) -> None:
        lost = claim("lost", volumeName="disk")
        documents = [claim("data", storageClassName="gp3"), claim("plain"), lost]
        pods = [mounting(name, name) for name in ("data", "plain", "lost", "none")]
        found = planned(catalog, *documents, *pods)
        assert found["summary"]["placed"] == 4
        assert found["notes"] == [
            "PersistentVolumeClaim default/none is not among the objects: taken to be there for every node",
            "PersistentVolume disk is not among the objects: taken to be there for every node",
            "StorageClass gp3 is not among the objects: taken to be there for every node",
            "no StorageClass is the default: one is taken to be there that every node can use",
        ]

    def test_a_quantity_that_does_not_parse_is_named(self, catalog: Path) -> None:
        broken = claim("data", resources={"requests": {"storage": "lots"}})
        (fault,) = planned(catalog, mounting("db", "data"), broken, code=1)["faults"]
        assert "PersistentVolumeClaim/data: storage: 'lots'" in fault

    def test_a_node_takes_no_more_volumes_than_it_can_attach(self, catalog: Path) -> None:
        allocatable = {"cpu": "4", "memory": "16Gi", "pods": "10"}
        node = obj("v1", "Node", "n1", status={"allocatable": allocatable})
        driver = {"name": "disk.example.com", "nodeID": "n1", "allocatable": {"count": 1}}
        limits = obj("storage.k8s.io/v1", "CSINode", "n1", spec={"drivers": [driver]})
        given = {**storage_class("fast", "b"), "allowedTopologies": None}
        wanted = [claim(name, storageClassName="fast") for name in ("x", "y")]
        found = planned(catalog, node, limits, given, *wanted, mounting("x", "x"), mounting("y", "y"))
        assert [len(each["pods"]) for each in (*found["existingNodes"], *found["nodes"])] == [1, 1]


class TestRoom:
    def test_a_capacity_buffer_is_planned_for_its_workload(self, catalog: Path) -> None:
        web = obj("apps/v1", "Deployment", "web", spec={"replicas": 2, "template": {"spec": pod_spec("3")}})
        spec = {"scalableRef": {"apiGroup": "apps", "kind": "Deployment", "name": "web"}, "percentage": 50}
        found = planned(catalog, web, obj("autoscaling.x-k8s.io/v1beta1", "CapacityBuffer", "spare", spec=spec))
        assert [node["workloads"] for node in found["nodes"]] == [
            *({"default/web": 1} for _ in range(2)),
            {"default/spare (room)": 1},
        ]

    def test_a_capacity_buffer_without_its_template_is_named(self, catalog: Path) -> None:
        spec = {"podTemplateRef": {"name": "worker"}, "replicas": 3}
        buffer = obj("autoscaling.x-k8s.io/v1beta1", "CapacityBuffer", "spare", spec=spec)
        (fault,) = planned(catalog, buffer, code=1)["faults"]
        assert "CapacityBuffer/spare: spec: 'worker': there is no such PodTemplate among the objects" in fault
        template = obj("v1", "PodTemplate", "worker", template={"spec": pod_spec("1")})
        assert planned(catalog, buffer, template)["summary"]["placed"] == 3

    def test_a_provisioning_request_is_planned_whole_or_not_at_all(self, catalog: Path) -> None:
        def asking(cpu: str, taken: bool) -> Any:
            template = obj("v1", "PodTemplate", "rank", template={"spec": pod_spec(cpu)})
            spec = {
                "provisioningClassName": "best-effort-atomic-scale-up.autoscaling.x-k8s.io",
                "podSets": [{"podTemplateRef": {"name": "rank"}, "count": 3}],
            }
            request = obj("autoscaling.x-k8s.io/v1", "ProvisioningRequest", "train", spec=spec)
            consumer = obj("v1", "Pod", "rank-0", spec=pod_spec("1"))
            consumer["metadata"]["annotations"] = {"autoscaling.x-k8s.io/consume-provisioning-request": "train"}
            documents = [template, request, *([consumer] if taken else [])]
            return planned(catalog, *documents, code=0 if cpu == "1" else 1)["summary"]

        assert asking("1", False)["placed"] == 3
        assert asking("1", True)["placed"] == 3
        assert (asking("99", False)["placed"], asking("99", False)["nodes"]) == (0, 0)

    def test_a_static_pool_and_an_unknown_strategy_are_noted(self, catalog: Path) -> None:
        ref = {"group": "autonodes.io", "kind": "LocalNodeClass", "name": "default"}
        template = {"spec": {"requirements": [], "nodeClassRef": ref}}
        static = obj("karpenter.sh/v1", "NodePool", "base", spec={"replicas": 2, "template": template})
        spec = {"podTemplateRef": {"name": "x"}, "replicas": 1, "provisioningStrategy": "example.com/warm"}
        buffer = obj("autoscaling.x-k8s.io/v1beta1", "CapacityBuffer", "warm", spec=spec)
        found = planned(catalog, static, buffer, obj("v1", "Pod", "web", spec=pod_spec()))
        assert len(found["nodes"]) == 1
        assert "NodePool base keeps 2 nodes whatever pods need: they are not in the plan" in found["notes"]
        assert any("strategy example.com/warm is left to others" in note for note in found["notes"])


class TestDevices:
    RESOURCE = "resource.k8s.io/v1"
    GPUS = "[{name: gpu, cpu: 8, memory: 32Gi, price: 1.0, draDevices: [{driver: gpu.example.com, count: 2}]}]"

    def documents(self, version: str = RESOURCE) -> list[Document]:
        selector = {"cel": {"expression": "device.driver == 'gpu.example.com'"}}
        asked = {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}}
        claims = [{"name": "gpu", "resourceClaimTemplateName": "one"}]
        workers = {"replicas": 3, "template": {"spec": pod_spec("1", resourceClaims=claims)}}
        return [
            obj(version, "DeviceClass", "gpu", spec={"selectors": [selector]}),
            obj(version, "ResourceClaimTemplate", "one", spec=asked),
            obj("apps/v1", "Deployment", "train", spec=workers),
        ]

    def test_each_pod_gets_a_claim_of_its_own_from_the_template(self, catalog: Path) -> None:
        found = planned(catalog, *self.documents(), types=self.GPUS)
        assert sorted(len(node["pods"]) for node in found["nodes"]) == [1, 2]

    def test_a_template_that_is_not_there_is_named(self, catalog: Path) -> None:
        device_class, _, workers = self.documents()
        (group,) = planned(catalog, device_class, workers, types=self.GPUS, code=1)["unplaced"]
        assert "there is no ResourceClaimTemplate 'one' among the objects" in group["reasons"][0]["text"]

    def test_an_older_version_is_refused_for_its_fields_mean_something_else(self, catalog: Path) -> None:
        faults = planned(catalog, *self.documents("resource.k8s.io/v1beta1"), types=self.GPUS, code=1)["faults"]
        assert "apiVersion: 'resource.k8s.io/v1beta1': only resource.k8s.io/v1 is read" in faults[0]

    def test_a_device_that_makes_no_sense_leaves_its_type_out(self, catalog: Path) -> None:
        types = self.GPUS.replace("count: 2", "count: 2, capacity: {memory: {value: lots}}")
        found = planned(catalog, obj("v1", "Pod", "web", spec=pod_spec()), types=types, code=1)
        assert "draDevices[0].capacity.memory.value: 'lots'" in found["faults"][0]


def test_what_is_in_flight_is_not_bought_again(catalog: Path) -> None:
    ref = {"group": "autonodes.io", "kind": "LocalNodeClass", "name": "default"}
    room = {"cpu": "4", "memory": "16Gi", "pods": "110"}
    claimed = obj("karpenter.sh/v1", "NodeClaim", "default-x7", spec={"requirements": [], "nodeClassRef": ref})
    claimed["metadata"]["labels"] = {"karpenter.sh/nodepool": "default"}
    launched = {"type": "Launched", "status": "True", "reason": "Launched", "message": ""}
    launched["lastTransitionTime"] = "2026-01-31T12:00:00Z"
    claimed["status"] = {"providerID": "x://1", "capacity": room, "allocatable": room, "conditions": [launched]}
    found = planned(catalog, claimed, obj("v1", "Pod", "web", spec=pod_spec()))
    assert (found["nodes"], found["existingNodes"]) == ([], [{"name": "default-x7", "pods": ["default/web"]}])


def test_kinds_that_no_plan_depends_on_are_named(catalog: Path) -> None:
    documents = [
        obj("v1", "Pod", "web", spec=pod_spec()),
        obj("v1", "ResourceQuota", "most"),
        obj("networking.k8s.io/v1", "Ingress", "web"),
        obj("batch.volcano.sh/v1alpha1", "Job", "other"),
    ]
    assert planned(catalog, *documents)["passedOver"] == ["Ingress", "Job.batch.volcano.sh", "ResourceQuota"]
