from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from rich.console import Console

from autonodes.cli import main
from autonodes.cli.plan import plan
from autonodes.cli.planpage import render
from autonodes.cli.planreport import PlannedNode, Report
from autonodes.cli.plantable import show
from autonodes.core.proof import Proof, RunnerUp
from autonodes.core.recording import Recording, encode
from autonodes.core.requirements import Requirements
from core.parts import machine, pod, pool, snapshot

CATALOG = """
- {name: small, cpu: 2, memory: 8Gi, price: 0.1, zones: [a, b]}
- {name: gpu, cpu: 8, memory: 32Gi, price: 1.0, resources: {nvidia.com/gpu: 2}}
- {name: unpriced, cpu: 64, memory: 256Gi}
"""


def workload(kind: str, name: str, cpu: str = "1", **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "x", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    version = "batch/v1" if kind == "Job" else "apps/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": {"template": template, **spec}}


def bare(name: str, cpu: Any = 1, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container], **spec}}


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    path = tmp_path / "catalog" / "types.yaml"
    path.parent.mkdir()
    path.write_text(CATALOG)
    return path


def run(
    tmp_path: Path,
    *documents: dict[str, Any],
    catalog: Path,
    output: str = "json",
    stdin: str = "",
    options: Sequence[str] = (),
) -> Result:
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(yaml.safe_dump_all(documents))
    source = "-" if stdin else str(manifests)
    arguments = ["-f", source, "--catalog", str(catalog), "-o", output, *options]
    return CliRunner().invoke(plan, arguments, input=stdin or None, standalone_mode=False)


def planned(result: Result) -> dict[str, Any]:
    assert result.exception is None, result.exception
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def pods(document: dict[str, Any]) -> list[str]:
    return sorted(name for node in document["nodes"] for name in node["pods"])


def test_workloads_become_the_pods_that_they_ask_for(tmp_path: Path, catalog: Path) -> None:
    job = workload("Job", "train", parallelism=3, completions=2)
    stateful = workload("StatefulSet", "db")
    result = run(tmp_path, workload("Deployment", "web", replicas=2), stateful, job, bare("one"), catalog=catalog)
    document = planned(result)
    assert pods(document) == [
        "default/db-0",
        "default/one",
        "default/train-0",
        "default/train-1",
        "default/web-0",
        "default/web-1",
    ]
    assert result.return_value == 0


def test_a_cronjob_counts_with_the_pods_of_one_run(tmp_path: Path, catalog: Path) -> None:
    job = workload("Job", "nightly", parallelism=2, completions=9)
    cron = {**job, "kind": "CronJob", "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job["spec"]}}}
    ran = ["default/nightly-0", "default/nightly-1"]
    suspended = {**cron, "metadata": {"name": "off"}, "spec": {**cron["spec"], "suspend": True}}
    broken = {**cron, "metadata": {"name": "odd"}, "spec": {"jobTemplate": 3}}
    document = planned(run(tmp_path, cron, suspended, broken, catalog=catalog))
    assert pods(document) == ran
    assert "spec.jobTemplate" in json.dumps(document["faults"])


def test_pods_that_claim_devices_go_where_the_devices_are(tmp_path: Path, catalog: Path) -> None:
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    resource = {"apiVersion": "resource.k8s.io/v1"}
    selector = {"cel": {"expression": "device.driver == 'gpu.example.com'"}}
    asked = {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}
    pool = {"name": "n1", "generation": 1, "resourceSliceCount": 1}
    slices = {"driver": "gpu.example.com", "nodeName": "n1", "pool": pool, "devices": [{"name": "gpu-0"}]}
    documents = [
        node,
        {**resource, "kind": "DeviceClass", "metadata": {"name": "gpu"}, "spec": {"selectors": [selector]}},
        {**resource, "kind": "ResourceClaim", "metadata": {"name": "mine"}, "spec": {"devices": asked}},
        bare("train", resourceClaims=[{"name": "gpu", "resourceClaimName": "mine"}]),
    ]
    assert planned(run(tmp_path, *documents, catalog=catalog))["existingNodes"] == []
    has = {**resource, "kind": "ResourceSlice", "metadata": {"name": "n1-gpu"}, "spec": slices}
    found = planned(run(tmp_path, *documents, has, catalog=catalog))
    assert found["existingNodes"] == [{"name": "n1", "pods": ["default/train"]}]


def test_the_report_has_nodes_costs_and_what_would_be_next(tmp_path: Path, catalog: Path) -> None:
    document = planned(run(tmp_path, workload("Deployment", "web", replicas=2), catalog=catalog))
    assert document["summary"] == {
        "pods": 2,
        "placed": 2,
        "unplaced": 0,
        "nodes": 1,
        "costPerHour": 0.1,
        "costPerMonth": 73.0,
        "lowerBoundPerHour": 0.1,
        "gap": 0.0,
    }
    (node,) = document["nodes"]
    assert (node["instanceType"], node["zone"], node["capacityType"]) == ("small", "a", "on-demand")
    assert node["requests"] == {"cpu": "2", "memory": "2Gi", "pods": "2"}
    assert node["workloads"] == {"default/web": 2}


def test_daemonsets_take_room_on_each_node(tmp_path: Path, catalog: Path) -> None:
    documents = [workload("Deployment", "web", replicas=2), workload("DaemonSet", "logs", cpu="100m")]
    document = planned(run(tmp_path, *documents, catalog=catalog))
    assert [node["requests"]["cpu"] for node in document["nodes"]] == ["1100m", "1100m"]


def test_lists_and_standard_input_are_read(tmp_path: Path, catalog: Path) -> None:
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": [bare("a"), bare("b")]})
    assert pods(planned(run(tmp_path, catalog=catalog, stdin=listed))) == ["default/a", "default/b"]


def test_a_nodepool_is_used_as_it_is(tmp_path: Path, catalog: Path) -> None:
    zone = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["b"]}
    reference = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}
    pool = {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": "west"},
        "spec": {"template": {"spec": {"requirements": [zone], "nodeClassRef": reference}}},
    }
    (node,) = planned(run(tmp_path, pool, bare("a"), catalog=catalog))["nodes"]
    assert (node["nodePool"], node["zone"]) == ("west", "b")


def choosy_pool() -> dict[str, Any]:
    """More types than there are."""
    choice = {"key": "node.kubernetes.io/instance-type", "operator": "Exists", "minValues": 3}
    reference = {"group": "autonodes.io", "kind": "LocalNodeClass", "name": "default"}
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": "choosy"},
        "spec": {"template": {"spec": {"requirements": [choice], "nodeClassRef": reference}}},
    }


def test_the_policy_on_min_values_is_that_of_the_command_line(tmp_path: Path, catalog: Path) -> None:
    documents = choosy_pool(), bare("a")
    strict = planned(run(tmp_path, *documents, catalog=catalog))
    assert "minValues" in strict["unplaced"][0]["reasons"][0]["text"]
    assert strict == planned(run(tmp_path, *documents, catalog=catalog, options=["--min-values-policy", "Strict"]))
    best_effort = planned(run(tmp_path, *documents, catalog=catalog, options=["--min-values-policy", "BestEffort"]))
    assert [node["instanceType"] for node in best_effort["nodes"]] == ["small"]


def test_the_policy_on_preferences_is_that_of_the_command_line(tmp_path: Path, catalog: Path) -> None:
    expression = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["b"]}
    wish = {"weight": 1, "preference": {"matchExpressions": [expression]}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}
    zones = {
        policy: planned(
            run(tmp_path, bare("a", affinity=affinity), catalog=catalog, options=["--preference-policy", policy])
        )["nodes"][0]["zone"]
        for policy in ("Respect", "Ignore")
    }
    assert zones == {"Respect": "b", "Ignore": "a"}


def test_policies_of_a_recorded_snapshot_hold_unless_others_are_given(tmp_path: Path) -> None:
    pools = [pool("default", "node.kubernetes.io/instance-type Exists")]
    choosy = [replace(each, requirements=_at_least(each.requirements, 2)) for each in pools]
    recorded = snapshot([pod("a", cpu=1)], types=[machine("m")], pools=choosy, min_values_policy="BestEffort")
    path = tmp_path / "snapshot.json"
    path.write_bytes(encode(Recording(snapshot=recorded)))
    for options, nodes in ((), 1), (("--min-values-policy", "Strict"), 0):
        result = CliRunner().invoke(plan, ["-f", str(path), "-o", "json", *options], standalone_mode=False)
        assert planned(result)["summary"]["nodes"] == nodes


def _at_least(requirements: Requirements, least: int) -> Requirements:
    return Requirements(replace(each, min_values=least) for each in requirements.values())


def test_nodeoverlays_correct_prices_and_those_that_contradict_are_reported(tmp_path: Path, catalog: Path) -> None:
    def overlay(name: str, price: str) -> dict[str, Any]:
        kind = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["small"]}
        spec = {"requirements": [kind], "price": price}
        return {"apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay", "metadata": {"name": name}, "spec": spec}

    document = planned(run(tmp_path, overlay("a", "0.05"), overlay("b", "0.07"), bare("web"), catalog=catalog))
    (node,) = document["nodes"]
    assert node["pricePerHour"] == 0.07
    (fault,) = document["faults"]
    assert fault.startswith("NodeOverlay/a: spec.weight: b has the same weight")


def test_a_type_without_a_price_is_not_bought(tmp_path: Path, catalog: Path) -> None:
    result = run(tmp_path, bare("large", cpu=60), catalog=catalog)
    ((group),) = planned(result)["unplaced"]
    assert "no price is known" in group["reasons"][0]["text"]
    assert result.return_value == 1


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (bare("bad", cpu="lots"), "Pod/bad: spec.containers[0].resources.requests.cpu: 'lots'"),
        (
            bare("bad", nodeSelctor={"a": "b"}),
            "Pod/bad: spec.nodeSelctor: {'a': 'b'}: unknown key \"nodeSelctor\": did",
        ),
        (
            bare("bad", cpu={"a": 1}),
            "Pod/bad: spec.containers[0].resources.requests.cpu: {'a': 1}",
        ),
        (bare("bad", priorityClassName="top"), "Pod/bad: spec.priorityClassName: 'top': there is no such Priority"),
        (bare("bad", priority="high"), "Pod/bad: spec.priority: Expected int"),
        (workload("Deployment", "bad", replicas=-1), "Deployment/bad: spec.replicas: -1: write a whole number"),
        ({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "bad"}}, "Job/bad: spec.template: a Job has"),
        (
            {"apiVersion": "apps/v1", "kind": "Job", "metadata": {"name": "bad"}},
            "Job/bad: kind: 'apps/v1 Job': did you mean batch/… Job?",
        ),
        (
            {"apiVersion": "apps/v1", "kind": "Deploymnt", "metadata": {"name": "bad"}},
            "Deploymnt/bad: kind: 'apps/v1 Deploymnt': did you mean apps/… Deployment?",
        ),
        (
            {**workload("Rollout", "bad"), "apiVersion": "argoproj.io/v1alpha1"},
            "Rollout/bad: kind: 'argoproj.io/v1alpha1 Rollout': it makes pods in a way that is not known here",
        ),
        ({"apiVersion": "v1", "kind": "Pod"}, "Pod: metadata.name: is missing"),
        ({"name": "no-object"}, "kind: a Kubernetes object has apiVersion, kind and metadata"),
        (bare("fine"), "Pod/fine: metadata.name: 'fine': was given already"),
        (
            {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "bad"}, "spec": {"wieght": 1}},
            'NodePool/bad: spec.wieght: 1: unknown key "wieght": did you mean "weight"?',
        ),
    ],
)
def test_what_is_wrong_is_named_and_the_rest_is_planned(
    tmp_path: Path, catalog: Path, broken: dict[str, Any], says: str
) -> None:
    result = run(tmp_path, bare("fine"), broken, catalog=catalog)
    document = planned(result)
    assert pods(document) == ["default/fine"]
    assert any(says in fault for fault in document["faults"]), document["faults"]
    assert result.return_value == 1


def test_a_contradiction_and_a_pod_that_nothing_can_hold_are_named_and_the_rest_is_planned(
    tmp_path: Path, catalog: Path
) -> None:
    lines = [{"key": "disk", "operator": operator, "values": ["ssd"]} for operator in ("In", "NotIn")]
    required = {"nodeSelectorTerms": [{"matchExpressions": lines}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    documents = bare("fine"), bare("torn", affinity=affinity), bare("huge", cpu=500)
    document = planned(run(tmp_path, *documents, catalog=catalog))
    assert pods(document) == ["default/fine"]
    told = {name: group["reasons"][0]["text"] for group in document["unplaced"] for name in group["pods"]}
    assert "nodeSelectorTerms[0].matchExpressions[1]: 'disk NotIn [ssd]': contradicts" in told["default/torn"]
    assert "(disk In [ssd])" in told["default/torn"]
    assert "requested cpu=500; largest after DaemonSets cpu=64" in told["default/huge"]


def test_a_file_that_is_no_yaml_does_not_stop_the_others(tmp_path: Path, catalog: Path) -> None:
    directory = tmp_path / "dir"
    directory.mkdir()
    (directory / "a.yaml").write_text("a: [")
    (directory / "b.yaml").write_text(yaml.safe_dump(bare("b")))
    result = CliRunner().invoke(plan, ["-f", str(directory), "--catalog", str(catalog), "-o", "json"])
    document = json.loads(result.stdout)
    assert pods(document) == ["default/b"]
    assert "a.yaml: is neither YAML nor JSON" in document["faults"][0]


def test_what_comes_from_a_cluster_is_taken_as_it_is(tmp_path: Path, catalog: Path) -> None:
    owner = {"kind": "ReplicaSet", "name": "web-5f", "uid": "r", "controller": True}
    live = {**bare("web-5f-x"), "status": {"phase": "Running"}}
    live["metadata"] = {"name": "web-5f-x", "uid": "p", "ownerReferences": [owner]}
    live["spec"]["nodeName"] = "n1"
    room = {"cpu": "2", "memory": "8Gi", "pods": "110"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"allocatable": room}}
    deployed = workload("Deployment", "web", replicas=1)
    deployed["metadata"]["uid"] = "d"
    document = planned(run(tmp_path, node, live, deployed, bare("new"), catalog=catalog))
    assert document["existingNodes"] == [{"name": "n1", "pods": ["default/new"]}]
    assert document["nodes"] == []


def test_priorities_are_those_of_their_classes(tmp_path: Path, catalog: Path) -> None:
    urgent = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "urgent"}, "value": 9}
    result = run(tmp_path, urgent, bare("a", priorityClassName="urgent"), catalog=catalog)
    assert planned(result)["faults"] == []


def test_a_trace_is_planned_row_by_row(tmp_path: Path, catalog: Path) -> None:
    trace = tmp_path / "trace.csv"
    rows = ["name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos", "a,1000,1024,0,0,,LS", "b,500,512,1,460,,BE"]
    rows += ["c,lots,1,0,0,,LS", "d,100,1,1,1000,T4|V100M16,LS"]
    trace.write_text("\n".join(rows))
    result = CliRunner().invoke(plan, ["-f", str(trace), "--catalog", str(catalog), "-o", "json"])
    document = json.loads(result.stdout)
    assert pods(document) == ["trace/a", "trace/b"]
    assert "trace.csv, line 4: cpu_milli: 'lots'" in document["faults"][0]
    (group,) = document["unplaced"]
    assert group["pods"] == ["trace/d"]
    assert "instance-gpu-name" in group["reasons"][0]["text"]
    assert result.exit_code == 0  # click's own; the command's is its return value


def test_a_recorded_snapshot_is_planned_with_its_own_catalogue(tmp_path: Path) -> None:
    recorded = tmp_path / "snapshot.json.gz"
    recording = Recording(snapshot=snapshot([pod("a", cpu=1)], types=[machine("own", price=0.3)]))
    recorded.write_bytes(gzip.compress(encode(recording)))
    document = planned(CliRunner().invoke(plan, ["-f", str(recorded), "-o", "json"], standalone_mode=False))
    assert [node["instanceType"] for node in document["nodes"]] == ["own"]


def test_without_a_catalogue_it_is_ec2_on_demand_for_amd64(tmp_path: Path) -> None:
    manifests = tmp_path / "pod.yaml"
    manifests.write_text(yaml.safe_dump(bare("a")))
    result = CliRunner().invoke(plan, ["-f", str(manifests), "-o", "yaml"], standalone_mode=False)
    document = yaml.safe_load(result.stdout)
    (node,) = document["nodes"]
    assert re.fullmatch(r"[a-su-z]+[3-9][a-z]*\.\w+", node["instanceType"])
    assert node["zone"].startswith("us-east-1")
    assert document["catalog"].startswith("EC2 us-east-1, on-demand prices of 20")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-f", "missing.yaml"], "-f: 'missing.yaml': there is no such file"),
        (["-f", "."], "the directory has no file that ends in"),
        (["-f", "service.txt"], "there is no pod in it that waits for a node (Service is nothing that pods come from)"),
        (["-f", "service.txt", "--catalog", "ec2:mars-1"], "--catalog: 'ec2:mars-1': not in the built-in catalogue"),
        (["-f", "service.txt", "--catalog", "nowhere.yaml"], "--catalog: 'nowhere.yaml': write ec2, ec2:REGION, kwok"),
        ([], "Missing option '-f'"),
    ],
)
def test_wrong_usage_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("service.txt").write_text("{apiVersion: v1, kind: Service, metadata: {name: web}}")
    with pytest.raises(SystemExit) as exited:
        main(["plan", *arguments])
    assert exited.value.code == 2
    assert says in capsys.readouterr().err


def node(name: str, price: float, count: int = 1) -> PlannedNode:
    load = {"cpu": 1000 * count, "memory": count * 2**30, "pods": count}
    return PlannedNode(
        pool="default",
        instance_type=name,
        zone="us-east-1a",
        capacity_type="on-demand",
        price=price,
        pods=tuple(f"team-a/web-{number}" for number in range(count)),
        workloads={"team-a/<web>": count},
        loads={"team-a/<web>": load},
        overhead={"cpu": 100},
        allocatable={"cpu": 8000, "memory": 16 * 2**30, "pods": 58},
        requests={**load, "cpu": load["cpu"] + 100},
        runner_up=RunnerUp("m5.large", 0.5, "dearer"),
    )


REPORT = Report(
    catalogue="test",
    proof=Proof(cost=1.064, lower_bound=1.0, models=("resources",), runners_up=()),
    nodes=[node("c5.2xlarge", 0.34, 6), node("c5.2xlarge", 0.34, 6), node("m5.2xlarge", 0.384, 3)],
    existing={},
    unplaced=[],
    faults=[],
    passed_over=[],
    pods=15,
)


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_fits_and_cuts_nothing_off(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    show(REPORT, Console(width=width))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= width
    assert "…" not in said
    assert "c5.2xlarge" in said
    assert "0.6800" in said  # two that look the same are one line
    assert "$1.0640 an hour, $776.72 a month" in said
    assert "no plan costs less than $1.0000; this one is 6.4% above" in said
    assert ("m5.large +0.1600" in said) == (width == 200)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.segments = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)
        self.outside += [value or "" for name, value in attrs if name in ("src", "href")]
        self.segments += ("data-w", "team-a/<web>") in attrs and tag == "div"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_one_whole_that_needs_nothing_from_elsewhere() -> None:
    page = _Page()
    page.feed(text := render(REPORT))
    assert page.open == []
    assert page.outside == []
    assert "http" not in text
    assert page.segments == 2


def test_the_page_tells_what_was_assumed_and_passed_over() -> None:
    page = render(replace(REPORT, notes=["StorageClass <fast> is not among the objects"], passed_over=["Ingress"]))
    assert "<li>StorageClass &lt;fast&gt; is not among the objects</li>" in page
    assert "passed over, since no plan depends on it: Ingress" in page
    assert "Notes" not in render(REPORT)


def test_names_are_no_markup_in_the_page() -> None:
    assert "<web>" not in render(REPORT)
