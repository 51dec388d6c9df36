"""Small clusters and pods that wait in them, as Kubernetes writes them: few values of everything, so that constraints
meet. The same seed draws the same scenario."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from autonodes.api.podtopologyspread import DefaultConstraint, PodTopologySpread
from autonodes.core.defaultspread import DefaultSpread, Selectors
from autonodes.core.labels import ARCH, CAPACITY_TYPE, HOSTNAME, INSTANCE_TYPE, NODE_POOL, OS, ZONE
from autonodes.core.model import InstanceType, NodePool, Offering, Plan, Purchase, Snapshot, Taint
from autonodes.core.quantities import format_resources
from autonodes.core.requirements import Requirement, Requirements
from autonodes.kube.decoding import decode_node, decode_pod
from autonodes.kube.workloads import decode_replicaset, decode_service

Manifest = dict[str, Any]

GI: Final = 2**30
TEAM: Final = "example.com/team"
SIZE: Final = "example.com/size"
ZONES: Final = ("z1", "z2", "z3")
EDGE: Final = "edge"
"""A zone that has a pool of its own, and no other."""
APPS: Final = ("a", "b", "c")
OTHER: Final = {"other": "yes"}
"""Labels of the second namespace."""


def _instance_type(cores: int) -> InstanceType:
    return InstanceType(
        name=f"cores-{cores}",
        requirements=Requirements.from_labels({ARCH: "amd64", OS: "linux", SIZE: str(cores)}),
        capacity={"cpu": cores * 1000, "memory": 2 * cores * GI, "pods": 5 * cores},
        overhead={"cpu": 100},
        offerings=tuple(
            Offering(zone=zone, capacity_type=kind, price=cores * (0.05 if kind == "spot" else 0.1))
            for zone in (*ZONES, EDGE)
            for kind in (("on-demand", "spot") if zone in ("z1", "z2") else ("on-demand",))
        ),
    )


def _in(key: str, *values: str) -> Requirements:
    return Requirements([Requirement.of(key, "In", values)])


TYPES: Final = tuple(map(_instance_type, (2, 4, 8)))
POOLS: Final = (
    NodePool(name="general", requirements=_in(OS, "linux") & _in(ZONE, *ZONES), weight=1),
    NodePool(
        name="team",
        requirements=_in(OS, "linux") & _in(ZONE, *ZONES) & _in(TEAM, "a"),
        labels={TEAM: "a"},
        taints=(Taint("team", "a"),),
    ),
    NodePool(
        name="edge",
        requirements=_in(OS, "linux") & _in(ZONE, EDGE),
        taints=(Taint("edge"), Taint("far", "", "PreferNoSchedule")),
    ),
)


@dataclass
class Scenario:
    """:param namespaces: name → labels
    :param nodes: that are there, as they are to be created
    :param selecting: Services and ReplicaSets
    :param running: pods that are bound to them
    :param default_spread: of pods without constraints of their own
    """

    namespaces: Mapping[str, Mapping[str, str]]
    nodes: list[Manifest] = field(default_factory=list)
    selecting: list[Manifest] = field(default_factory=list)
    running: list[Manifest] = field(default_factory=list)
    waiting: list[Manifest] = field(default_factory=list)
    default_spread: PodTopologySpread = field(default_factory=PodTopologySpread)

    def snapshot(self) -> Snapshot:
        unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        waiting = ({**pod, "status": {"phase": "Pending", "conditions": [unschedulable]}} for pod in self.waiting)
        running = ({**pod, "status": {"phase": "Running"}} for pod in self.running)
        return Snapshot(
            now=0.0,
            pods=DefaultSpread(self.default_spread.to_model()).applied(
                [decode_pod(_encoded(_with_uid(pod))) for pod in (*running, *waiting)], self._selectors()
            ),
            nodes=tuple(decode_node(_encoded(_with_uid(node))) for node in self.nodes),
            claims=(),
            pools=POOLS,
            instance_types={pool.name: TYPES for pool in POOLS},
            namespaces=self.namespaces,
        )

    def _selectors(self) -> Selectors:
        services: dict[str, list[Requirements]] = {}
        for each in _of("Service", self.selecting):
            selector = decode_service(_encoded(each)).selector
            services.setdefault(each["metadata"]["namespace"], []).append(selector)
        owners = (decode_replicaset(_encoded(_with_uid(each))) for each in _of("ReplicaSet", self.selecting))
        return Selectors(services, {each.uid: each.selector for each in owners})


def _encoded(manifest: Manifest) -> bytes:
    return json.dumps(manifest).encode()


def _with_uid(manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "uid": metadata["name"]}}


def bought_node(name: str, purchase: Purchase) -> Manifest:
    """The cheapest machine that a purchase may become, as its kubelet shows it."""
    type_name, zone, capacity_type, _ = purchase.candidates[0]
    pool = next(each for each in POOLS if each.name == purchase.pool)
    instance_type = next(each for each in TYPES if each.name == type_name)
    labels = {
        **instance_type.requirements.labels(),
        **pool.labels,
        INSTANCE_TYPE: type_name,
        ZONE: zone,
        CAPACITY_TYPE: capacity_type,
        NODE_POOL: pool.name,
    }
    return _node(name, labels, pool.taints, instance_type.allocatable)


def targets(plan: Plan) -> tuple[dict[str, str], list[Manifest]]:
    """Pod → node of a plan, and the nodes to create for it."""
    places = {str(uid): name for uid, name in plan.placements.items()}
    nodes = []
    for number, purchase in enumerate(plan.purchases):
        name = f"bought-{number}"
        nodes.append(bought_node(name, purchase))
        places.update({str(uid): name for uid in purchase.pods})
    return places, nodes


def _node(name: str, labels: Mapping[str, str], taints: tuple[Taint, ...], room: Mapping[str, int]) -> Manifest:
    shown = format_resources(room)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**labels, HOSTNAME: name}},
        "spec": {"taints": [{"key": each.key, "value": each.value, "effect": each.effect} for each in taints]},
        "status": {"capacity": shown, "allocatable": shown, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def read(path: Path) -> Scenario:
    """A case: Namespaces, Nodes by their labels, Pods; those that have a node run there. The namespaces get the name of
    the case before theirs."""
    documents = list(yaml.safe_load_all(path.read_text()))
    names = {each["metadata"]["name"]: each["metadata"].get("labels", {}) for each in _of("Namespace", documents)}
    scenario = Scenario(namespaces={f"{path.stem}-{name}": labels for name, labels in names.items()})
    for node in _of("Node", documents):
        metadata = node["metadata"]
        scenario.nodes.append(_node(metadata["name"], metadata["labels"], (), TYPES[1].allocatable))
    for pod in _of("Pod", documents):
        moved = {**pod["metadata"], "namespace": f"{path.stem}-{pod['metadata']['namespace']}"}
        pods = scenario.running if "nodeName" in pod["spec"] else scenario.waiting
        pods.append({"apiVersion": "v1", **pod, "metadata": moved})
    return scenario


def _of(kind: str, documents: list[Manifest]) -> list[Manifest]:
    return [each for each in documents if each["kind"] == kind]


def draw(seed: int, namespaces: tuple[str, str]) -> Scenario:
    """:param namespaces: names of two; the second one is `OTHER`"""
    chance = random.Random(seed)  # noqa: S311 -- scenarios, not secrets
    scenario = Scenario(namespaces={namespaces[0]: {}, namespaces[1]: OTHER})
    for number in range(chance.randint(0, 2)):
        labels = {ARCH: "amd64", OS: "linux", SIZE: "4", ZONE: chance.choice(ZONES), CAPACITY_TYPE: "on-demand"}
        if chance.random() < 0.2:
            del labels[chance.choice((ZONE, CAPACITY_TYPE))]
        if chance.random() < 0.2:
            labels[TEAM] = chance.choice("ab")
        taints = chance.choice(((), (), (), (Taint("soft", "", "PreferNoSchedule"),), (Taint("team", "a"),)))
        scenario.nodes.append(_node(f"old-{number}", labels, taints, TYPES[1].allocatable))
    for number in range(chance.randint(2, 5)):
        scenario.waiting.extend(_replicas(f"set-{number}", chance, namespaces))
    for number, node in enumerate(scenario.nodes):
        (pod,) = _replicas(f"running-{number}", chance, namespaces, count=1)
        pod["spec"] = {**pod["spec"], "nodeName": node["metadata"]["name"]}
        scenario.running.append(pod)
    return scenario


DEFAULT_SPREAD: Final = PodTopologySpread(
    defaulting_type="List",
    default_constraints=(
        DefaultConstraint(max_skew=1, topology_key=ZONE, when_unsatisfiable="DoNotSchedule"),
        DefaultConstraint(max_skew=2, topology_key=HOSTNAME, when_unsatisfiable="DoNotSchedule"),
        DefaultConstraint(max_skew=1, topology_key=CAPACITY_TYPE, when_unsatisfiable="ScheduleAnyway"),
    ),
)


def draw_spread(seed: int, namespaces: tuple[str, str]) -> Scenario:
    """The same with default constraints, where most pods belong to a ReplicaSet and some to a Service, too."""
    scenario, chance = draw(seed, namespaces), random.Random(seed)  # noqa: S311 -- scenarios, not secrets
    sets = {_set_of(pod): pod for pod in scenario.waiting}
    owned = {name: pod for name, pod in sets.items() if chance.random() < 0.75}
    scenario.selecting = [_replicaset(name, pod) for name, pod in owned.items()]
    scenario.selecting += [service(f"of-{app}", namespaces[0], {"app": app}) for app in APPS if chance.random() < 0.5]
    for pod in scenario.waiting:
        if (name := _set_of(pod)) in owned:
            owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": name, "controller": True}
            pod["metadata"] = {**pod["metadata"], "ownerReferences": [owner]}
    scenario.default_spread = DEFAULT_SPREAD
    return scenario


def _set_of(pod: Manifest) -> str:
    return str(pod["metadata"]["name"].rpartition("-")[0])


def _replicaset(name: str, pod: Manifest) -> Manifest:
    metadata, container = pod["metadata"], {"name": "main", "image": "none"}
    template = {"metadata": {"labels": metadata["labels"]}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": metadata["namespace"]},
        "spec": {"replicas": 0, "selector": {"matchLabels": metadata["labels"]}, "template": template},
    }


def service(name: str, namespace: str, selector: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": "None", "selector": dict(selector), "ports": [{"port": 80}]},
    }


def _replicas(
    name: str, chance: random.Random, namespaces: tuple[str, str], *, count: int | None = None
) -> list[Manifest]:
    """Pods of one template."""
    app = chance.choice(APPS)
    namespace = chance.choices(namespaces, (3, 1))[0]
    requests = {
        "cpu": chance.choice(("0", "100m", "500m", "1", "1500m")),
        "memory": chance.choice(("0", "256Mi", "1Gi")),
    }
    container: Manifest = {"name": "main", "image": "none", "resources": {"requests": requests}}
    if chance.random() < 0.15:
        container["ports"] = [{"containerPort": 80, "hostPort": chance.choice((80, 81))}]
    spec: Manifest = {"containers": [container], "terminationGracePeriodSeconds": 0}
    for chapter in (_tolerations, _selector, _affinity, _spread):
        spec.update(chapter(app, chance))
    labels = {"app": app, "revision": chance.choice("12")}
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"{name}-{number}", "namespace": namespace, "labels": labels},
            "spec": spec,
        }
        for number in range(count or chance.randint(1, 6))
    ]


def _tolerations(_: str, chance: random.Random) -> Manifest:
    if chance.random() < 0.7:
        return {}
    return {"tolerations": [chance.choice(_TOLERATIONS)]}


_TOLERATIONS: Final[tuple[Manifest, ...]] = (
    {"key": "team", "operator": "Exists"},
    {"key": "team", "value": "a"},
    {"key": "edge", "operator": "Exists", "effect": "NoSchedule"},
    {"operator": "Exists"},
)


def _selector(_: str, chance: random.Random) -> Manifest:
    if chance.random() < 0.8:
        return {}
    return {"nodeSelector": chance.choice(({ZONE: "z2"}, {CAPACITY_TYPE: "on-demand"}, {OS: "linux"}))}


def _affinity(app: str, chance: random.Random) -> Manifest:
    found: Manifest = {}
    if chance.random() < 0.25:
        terms = [{"matchExpressions": [chance.choice(_EXPRESSIONS)]} for _ in range(chance.randint(1, 2))]
        found["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    for kind, share in (("podAffinity", 0.25), ("podAntiAffinity", 0.3)):
        if chance.random() < share:
            terms = [_pod_term(app, chance) for _ in range(chance.choice((1, 1, 1, 2)))]
            found[kind] = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
        elif chance.random() < 0.15:
            wish = {"weight": chance.choice((1, 100)), "podAffinityTerm": _pod_term(app, chance)}
            found[kind] = {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}
    return {"affinity": found} if found else {}


_EXPRESSIONS: Final[tuple[Manifest, ...]] = (
    {"key": ZONE, "operator": "NotIn", "values": ["z1"]},
    {"key": TEAM, "operator": "DoesNotExist"},
    {"key": TEAM, "operator": "Exists"},
    {"key": SIZE, "operator": "Gt", "values": ["2"]},
    {"key": SIZE, "operator": "Lt", "values": ["8"]},
    {"key": CAPACITY_TYPE, "operator": "In", "values": ["spot"]},
)


def _pod_term(app: str, chance: random.Random) -> Manifest:
    """Mostly about its own kind: what is near something that is not there can't be placed."""
    selected = app if chance.random() < 0.8 else chance.choice(APPS)
    term: Manifest = {
        "topologyKey": chance.choice((ZONE, HOSTNAME, HOSTNAME, CAPACITY_TYPE, TEAM)),
        "labelSelector": {"matchLabels": {"app": selected}},
    }
    if chance.random() < 0.2:
        term["namespaceSelector"] = chance.choice(({}, {"matchLabels": OTHER}))
    if chance.random() < 0.1:
        term[chance.choice(("matchLabelKeys", "mismatchLabelKeys"))] = ["revision"]
    return term


def _spread(app: str, chance: random.Random) -> Manifest:
    if chance.random() < 0.5:
        return {}
    return {"topologySpreadConstraints": list(_constraints(app, chance))}


def _constraints(app: str, chance: random.Random) -> Iterator[Manifest]:
    for key in chance.sample((ZONE, HOSTNAME, CAPACITY_TYPE, TEAM), chance.choice((1, 1, 2))):
        selected = app if chance.random() < 0.8 else chance.choice(APPS)
        constraint: Manifest = {
            "maxSkew": chance.choice((1, 1, 2)),
            "topologyKey": key,
            "whenUnsatisfiable": chance.choice(("DoNotSchedule", "DoNotSchedule", "ScheduleAnyway")),
            "labelSelector": {"matchLabels": {"app": selected}} if chance.random() < 0.95 else {},
        }
        if constraint["whenUnsatisfiable"] == "DoNotSchedule" and chance.random() < 0.2:
            constraint["minDomains"] = chance.choice((2, 3))
        if chance.random() < 0.2:
            constraint["matchLabelKeys"] = ["revision"]
        if chance.random() < 0.3:
            constraint["nodeAffinityPolicy"] = chance.choice(("Honor", "Ignore"))
            constraint["nodeTaintsPolicy"] = chance.choice(("Honor", "Ignore"))
        yield constraint
