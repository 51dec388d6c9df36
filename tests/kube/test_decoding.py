"""From JSON to the model: what scheduling needs is read, the rest is passed over, equal parts are shared."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from autonodes.core.errors import ConfigError
from autonodes.core.model import HostPort, Taint, Toleration
from autonodes.kube.decoding import decode_budget, decode_daemonset, decode_namespace, decode_node, decode_pod

GI = 2**30


def pod(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **metadata: Any) -> bytes:
    identity = {"name": "web-1", "namespace": "shop", "uid": "u1", "managedFields": [{"manager": "x"}]}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**identity, **metadata},
        "spec": {"containers": [{"name": "main", "image": "x"}], **(spec or {})},
        "status": status or {},
    }
    return json.dumps(body).encode()


def requesting(**resources: Any) -> dict[str, Any]:
    return {"name": "main", "resources": {"requests": resources}}


def test_a_bare_pod_has_the_defaults_of_the_api() -> None:
    decoded = decode_pod(pod(creationTimestamp="2026-01-31T12:00:00Z"))
    assert decoded.key == "shop/web-1"
    assert decoded.requests == {"pods": 1}
    assert len(decoded.required_terms) == 1
    assert not decoded.required_terms[0]
    assert (decoded.phase, decoded.ready, decoded.gated, decoded.unschedulable) == ("Pending", False, False, False)
    assert (decoded.created_at, decoded.deleted_at, decoded.grace_period) == (1769860800.0, None, 30.0)


def test_requests_are_effective_ones() -> None:
    spec = {
        "containers": [requesting(cpu="250m", memory="1Gi"), {**requesting(cpu=1), "name": "second"}],
        "initContainers": [
            {**requesting(cpu="100m"), "name": "sidecar", "restartPolicy": "Always"},
            {**requesting(memory="3Gi"), "name": "setup"},
        ],
        "overhead": {"cpu": "10m"},
    }
    assert decode_pod(pod(spec)).requests == {"cpu": 1360, "memory": 3 * GI, "pods": 1}


def test_pod_level_resources_replace_the_sum() -> None:
    spec = {"containers": [requesting(cpu="250m")], "resources": {"requests": {"cpu": "2"}}}
    assert decode_pod(pod(spec)).requests == {"cpu": 2000, "pods": 1}


def test_a_resize_in_flight_holds_the_greater_amount() -> None:
    spec = {"containers": [requesting(cpu="250m")]}
    given = {"name": "main", "allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "500m"}}}
    assert decode_pod(pod(spec, {"containerStatuses": [given]})).requests == {"cpu": 1000, "pods": 1}
    same = {"name": "main", "allocatedResources": {"cpu": "250m"}}
    assert decode_pod(pod(spec, {"containerStatuses": [same]})).requests == {"cpu": 250, "pods": 1}


def test_selector_and_affinity_become_requirements() -> None:
    expression = {"key": "zone", "operator": "In", "values": ["a", "b"]}
    terms = [{"matchExpressions": [expression]}, {"matchFields": [{**expression, "key": "metadata.name"}]}]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    first, second = decode_pod(pod({"nodeSelector": {"disk": "ssd"}, "affinity": affinity})).required_terms
    assert first.satisfied_by({"zone": "a", "disk": "ssd"})
    assert not first.satisfied_by({"zone": "a"})
    assert second.satisfied_by({"metadata.name": "b", "disk": "ssd"})


def test_the_daemons_of_a_node_keep_no_terms_that_name_it() -> None:
    expression = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    required = {"nodeSelectorTerms": [{"matchFields": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    owner = [{"kind": "DaemonSet", "name": "d", "uid": "d1", "controller": True}]
    waiting = decode_pod(pod({"affinity": affinity}, ownerReferences=owner))
    assert waiting.owner_kind == "DaemonSet"
    assert len(waiting.required_terms) == 1
    assert decode_pod(pod({"affinity": affinity, "nodeName": "n1"}, ownerReferences=owner)).required_terms == ()


def test_tolerations_ports_priority_and_gates_are_read() -> None:
    spec = {
        "containers": [{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 81, "hostPort": 8081}]}],
        "initContainers": [
            {
                "name": "b",
                "restartPolicy": "Always",
                "ports": [{"hostPort": 53, "protocol": "UDP", "hostIP": "10.0.0.1"}],
            },
            {"name": "c", "ports": [{"hostPort": 99}]},
        ],
        "tolerations": [{"operator": "Exists"}, {"key": "gpu", "value": "yes", "effect": "NoSchedule"}],
        "priority": -5,
        "schedulingGates": [{"name": "wait"}],
        "terminationGracePeriodSeconds": 0,
    }
    decoded = decode_pod(pod(spec))
    assert decoded.host_ports == (HostPort(8081), HostPort(53, "UDP", "10.0.0.1"))
    assert decoded.tolerations == (Toleration("", "Exists"), Toleration("gpu", "Equal", "yes", "NoSchedule"))
    assert (decoded.priority, decoded.gated, decoded.grace_period) == (-5, True, 0.0)


def test_conditions_say_ready_and_unschedulable() -> None:
    waiting = {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}
    assert decode_pod(pod(status=waiting)).unschedulable
    gated = {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}
    assert not decode_pod(pod(status=gated)).unschedulable
    running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "nominatedNodeName": "n"}
    assert decode_pod(pod(status=running)).ready
    assert decode_pod(pod(status=running)).nominated_node == "n"


def test_a_pod_whose_affinity_can_not_be_read_counts_where_it_runs_and_says_what_is_wrong() -> None:
    term = {"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["many"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    decoded = decode_pod(pod({"containers": [requesting(cpu="2")], "nodeName": "n1", "affinity": affinity}))
    assert (decoded.node_name, decoded.requests["cpu"]) == ("n1", 2000)
    assert "cores" in decoded.fault
    assert "many" in decoded.fault


def asking_for(*terms: list[tuple[str, str, list[str]]], selector: dict[str, str] | None = None, **more: Any) -> bytes:
    listed = [
        {"matchExpressions": [{"key": key, "operator": operator, "values": values} for key, operator, values in term]}
        for term in terms
    ]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": listed}}}
    spec = {"containers": [requesting(cpu="1")], "nodeSelector": selector, "affinity": {**affinity, **more}}
    return pod(spec)


TERMS = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (
            asking_for([("disk", "In", ["ssd"]), ("arch", "Exists", []), ("disk", "NotIn", ["ssd"])]),
            f"{TERMS}[0].matchExpressions[2]: 'disk NotIn [ssd]': contradicts {TERMS}[0].matchExpressions[0] "
            "(disk In [ssd]), so that no node will do: correct one of them",
        ),
        (
            asking_for([("disk", "In", ["hdd"])], selector={"disk": "ssd"}),
            f"{TERMS}[0].matchExpressions[0]: 'disk In [hdd]': contradicts spec.nodeSelector[disk] (disk In [ssd]), "
            "so that no node will do: correct one of them",
        ),
        (
            asking_for([("cores", "Gt", ["8"]), ("cores", "Lt", ["4"])]),
            f"{TERMS}[0].matchExpressions[1]: 'cores Lte [3]': contradicts {TERMS}[0].matchExpressions[0] "
            "(cores Gte [9]), so that no node will do: correct one of them",
        ),
        (asking_for([("cores", "Gt", [str(2**63 - 1)])]), f"{TERMS}[0].matchExpressions[0]: "),
        (
            asking_for([("cores", "Gt", ["many"])]),
            f"{TERMS}[0].matchExpressions[0].values: ('many',): label cores: Gt takes one integer",
        ),
    ],
)
def test_what_contradicts_itself_is_a_fault_with_both_places_and_values(raw: bytes, fault: str) -> None:
    assert decode_pod(raw).fault.startswith(fault)


def test_a_contradiction_is_no_fault_beside_an_alternative() -> None:
    decoded = decode_pod(asking_for([("disk", "In", ["a"]), ("disk", "NotIn", ["a"])], [("disk", "In", ["b"])]))
    assert not decoded.fault
    assert len(decoded.required_terms) == 2


def test_a_fault_of_node_affinity_leaves_what_the_pod_says_of_others() -> None:
    """It may run, for all that: its anti-affinity holds."""
    away = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "labelSelector": {}}]}
    decoded = decode_pod(asking_for([("cores", "Gt", ["many"])], podAntiAffinity=away))
    assert decoded.fault
    assert len(decoded.apart) == 1


def test_a_pod_remembers_when_its_kubelet_took_it() -> None:
    assert decode_pod(pod(status={"startTime": "1970-01-01T00:01:00Z"})).started_at == 60.0
    assert decode_pod(pod()).started_at is None


def test_only_annotations_that_mean_something_are_kept() -> None:
    given = {"karpenter.sh/do-not-disrupt": "true", "kubectl.kubernetes.io/last-applied-configuration": "{…}"}
    assert decode_pod(pod(annotations=given)).annotations == {"karpenter.sh/do-not-disrupt": "true"}


def test_only_the_controlling_owner_counts() -> None:
    owners = [{"kind": "Foo", "name": "f", "uid": "f1"}, {"kind": "Node", "name": "n", "uid": "n1", "controller": True}]
    decoded = decode_pod(pod(ownerReferences=owners))
    assert (decoded.owner_kind, decoded.owner_uid) == ("Node", "n1")


def test_pods_of_one_workload_share_all_but_their_names() -> None:
    spec = {
        "containers": [requesting(cpu="1")],
        "nodeSelector": {"a": "b"},
        "tolerations": [{"operator": "Exists"}],
        "nodeName": "node-" + "1",
    }
    one, two = (decode_pod(pod(spec, labels={"app": "web"}, name=name)) for name in ("one", "two"))
    assert one != two
    for field in ("requests", "required_terms", "tolerations", "labels", "annotations", "host_ports", "node_name"):
        assert getattr(one, field) is getattr(two, field)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (pod({"containers": [requesting(cpu="lots")]}), ConfigError),
        (pod({"containers": "none"}), msgspec.ValidationError),
        (pod(creationTimestamp="yesterday"), msgspec.ValidationError),
        (b'{"metadata": {}}', msgspec.ValidationError),
        (b"{", msgspec.DecodeError),
    ],
)
def test_what_can_not_be_read_raises(raw: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode_pod(raw)


def test_a_node_is_read_with_what_it_can_hold() -> None:
    body = {
        "metadata": {"name": "n1", "uid": "u", "labels": {"zone": "a"}, "deletionTimestamp": "2026-01-31T12:00:00Z"},
        "spec": {
            "providerID": "local://c/u",
            "unschedulable": True,
            "taints": [{"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-31T12:00:00Z"}],
        },
        "status": {
            "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "allocatable": {"cpu": "3900m", "memory": "7.5Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "MemoryPressure", "status": "False"}],
            "addresses": [{"type": "InternalIP", "address": "10.88.0.2"}, {"type": "Hostname", "address": "n1"}],
        },
    }
    node = decode_node(json.dumps(body).encode())
    assert node.provider_id == "local://c/u"
    assert node.taints == (Taint("k", "", "NoExecute"),)
    assert node.capacity == {"cpu": 4000, "memory": 8 * GI, "pods": 110}
    assert node.allocatable["memory"] == 7.5 * GI
    assert node.ready
    assert node.unschedulable
    assert node.addresses == ("10.88.0.2",)
    assert node.deleted_at == 1769860800.0


def test_a_node_that_has_only_a_name_is_a_node() -> None:
    node = decode_node(b'{"metadata":{"name":"n1"},"spec":{},"status":{}}')
    assert (node.ready, node.capacity, node.taints, node.addresses) == (False, {}, (), ())


def test_a_daemonset_is_the_pod_that_it_puts_on_a_node() -> None:
    template = {
        "metadata": {"labels": {"app": "agent"}},
        "spec": {
            "hostNetwork": True,
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "containers": [
                {"name": "a", "resources": {"limits": {"cpu": "100m"}}, "ports": [{"containerPort": 9100}]},
            ],
        },
    }
    body = {"metadata": {"name": "agent", "namespace": "sys", "uid": "d"}, "spec": {"template": template}}
    daemon = decode_daemonset(json.dumps(body).encode())
    assert (daemon.namespace, daemon.name, daemon.pod.owner_kind) == ("sys", "agent", "DaemonSet")
    assert daemon.pod.requests == {"cpu": 100, "pods": 1}, "a template's limit is its request"
    assert daemon.pod.host_ports == (HostPort(9100),), "on the host's network a port is a host port"
    tolerated = {(toleration.key, toleration.effect) for toleration in daemon.pod.tolerations}
    assert ("node.kubernetes.io/not-ready", "NoExecute") in tolerated
    assert ("node.kubernetes.io/network-unavailable", "NoSchedule") in tolerated


def budget(selector: dict[str, Any] | None, allowed: int = 0, **spec: Any) -> bytes:
    return json.dumps(
        {
            "metadata": {"name": "b", "namespace": "shop"},
            "spec": {"minAvailable": "50%", **({} if selector is None else {"selector": selector}), **spec},
            "status": {"disruptionsAllowed": allowed},
        }
    ).encode()


@pytest.mark.parametrize(
    ("selector", "selects"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "db"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["x"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
    ],
)
def test_a_budget_selects_pods_by_label(selector: dict[str, Any] | None, selects: bool) -> None:
    web = decode_pod(pod(labels={"app": "web"}))
    assert decode_budget(budget(selector)).selects(web) is selects


def test_a_budget_blocks_only_its_namespace_and_while_it_allows_nothing() -> None:
    web = decode_pod(pod(labels={"app": "web"}))
    elsewhere = decode_pod(pod(labels={"app": "web"}, namespace="other"))
    assert decode_budget(budget({})).blocks(web)
    assert not decode_budget(budget({})).blocks(elsewhere)
    assert not decode_budget(budget({}, allowed=1)).blocks(web)


def test_a_budget_that_always_allows_unhealthy_pods_blocks_healthy_ones() -> None:
    lenient = decode_budget(budget({}, unhealthyPodEvictionPolicy="AlwaysAllow"))
    assert not lenient.blocks(decode_pod(pod()))
    assert lenient.blocks(decode_pod(pod(status={"conditions": [{"type": "Ready", "status": "True"}]})))


def test_a_namespace_is_its_labels() -> None:
    labels = {"team": "red"}
    assert decode_namespace(msgspec.json.encode({"metadata": {"name": "n", "labels": labels}})) == labels
    assert decode_namespace(msgspec.json.encode({"metadata": {"name": "n"}})) == {}
