"""The pods and instance types of Karpenter's own scheduling benchmark, as Kubernetes writes them.

Pods: a fifth of each kind, in this order, and generic ones for the remainder: generic; spread over zones; spread over
hosts (a selector that is drawn independently of the pod's own label); zone affinity to their own kind; host
anti-affinity among all of them. Types: 400, twice as many Gi as CPUs, five offerings each at one price.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

KINDS: Final = ("generic", "spread-zone", "spread-host", "aff-zone", "anti-host")
CPU_M: Final = (100, 250, 500, 1000, 1500)
MEM_MI: Final = (100, 256, 512, 1024, 2048, 4096)
LABELS: Final = "abcdefg"
TYPES: Final = 400
ZONE: Final = "topology.kubernetes.io/zone"
HOST: Final = "kubernetes.io/hostname"
OFFERINGS: Final = (
    ("test-zone-1", "spot"),
    ("test-zone-2", "spot"),
    ("test-zone-1", "on-demand"),
    ("test-zone-2", "on-demand"),
    ("test-zone-3", "on-demand"),
)

Drawn = Mapping[str, Any]
"""A pod as a workload file has it: ``kind``, ``label``, ``sel`` of a spread one, ``cpu_m``, ``mem_mi``."""


def draw(count: int, seed: int) -> list[Drawn]:
    """The same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 -- a workload, not a secret
    each = count // len(KINDS)
    kinds = [kind for kind in KINDS for _ in range(each)]
    return [_drawn(kind, chance) for kind in [*kinds, *("generic" for _ in range(count - len(kinds)))]]


def _drawn(kind: str, chance: random.Random) -> Drawn:
    found: dict[str, Any] = {"kind": kind, "label": chance.choice(LABELS)}
    if kind.startswith("spread"):
        found["sel"] = chance.choice(LABELS)
    return {**found, "cpu_m": chance.choice(CPU_M), "mem_mi": chance.choice(MEM_MI)}


def draw_preferences(count: int, seed: int) -> list[Drawn]:
    """Equal pods that prefer one zone, each other's absence from it (which can't be) and from the host."""
    chance = random.Random(seed)  # noqa: S311 -- a workload, not a secret
    size = {"cpu_m": chance.choice(CPU_M), "mem_mi": chance.choice(MEM_MI)}
    return [{"kind": "preferences", "label": "nginx", **size} for _ in range(count)]


def read(path: Path) -> list[Drawn]:
    found: list[Drawn] = json.loads(path.read_text())
    return found


def manifests(drawn: Sequence[Drawn], prefix: str = "pod") -> Iterator[dict[str, Any]]:
    """Pods that kube-scheduler has given up on."""
    return (_manifest(f"{prefix}-{number:05}", pod) for number, pod in enumerate(drawn))


def _manifest(name: str, pod: Drawn) -> dict[str, Any]:
    labels, constraints = _CONSTRAINTS[pod["kind"]](pod)
    requests = {"cpu": f"{pod['cpu_m']}m", "memory": f"{pod['mem_mi']}Mi"}
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "none", "resources": {"requests": requests}}], **constraints},
        "status": {"phase": "Pending", "conditions": [unschedulable]},
    }


_Constraints = tuple[dict[str, str], dict[str, Any]]


def _generic(pod: Drawn) -> _Constraints:
    return {"my-label": pod["label"]}, {}


def _spread(pod: Drawn) -> _Constraints:
    constraint = {
        "maxSkew": 1,
        "topologyKey": ZONE if pod["kind"] == "spread-zone" else HOST,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"my-label": pod["sel"]}},
    }
    return {"my-label": pod["label"]}, {"topologySpreadConstraints": [constraint]}


def _zone_affinity(pod: Drawn) -> _Constraints:
    labels = {"my-affinity": pod["label"]}
    return labels, {"affinity": {"podAffinity": _required(ZONE, labels)}}


def _host_anti_affinity(pod: Drawn) -> _Constraints:
    labels = {"app": "nginx"}
    return labels, {"affinity": {"podAntiAffinity": _required(HOST, labels)}}


def _preferences(pod: Drawn) -> _Constraints:
    labels = {"app": pod["label"]}
    zone = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["test-zone-1"]}]}
    apart = [{"weight": weight, "podAffinityTerm": _term(key, labels)} for key, weight in ((ZONE, 10), (HOST, 1))]
    affinity = {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": zone}]},
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": apart},
    }
    return labels, {"affinity": affinity}


def _required(key: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"requiredDuringSchedulingIgnoredDuringExecution": [_term(key, labels)]}


def _term(key: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"topologyKey": key, "labelSelector": {"matchLabels": dict(labels)}}


_CONSTRAINTS: Final = {
    "generic": _generic,
    "spread-zone": _spread,
    "spread-host": _spread,
    "aff-zone": _zone_affinity,
    "anti-host": _host_anti_affinity,
    "preferences": _preferences,
}


def instance_types() -> list[dict[str, Any]]:
    """As both engines read them: quantities as strings, prices in dollars an hour."""
    return [_instance_type(number) for number in range(TYPES)]


def _instance_type(number: int) -> dict[str, Any]:
    cpus = number + 1
    price = 0.1 * cpus + 0.1 * (2 * cpus * 2**30) / 1e9
    return {
        "name": f"fake-it-{number}",
        "capacity": {"cpu": str(cpus), "memory": f"{2 * cpus}Gi", "pods": str(10 * cpus)},
        "overhead": {"cpu": "100m", "memory": "10Mi"},
        "offerings": [{"zone": zone, "capacityType": kind, "price": price} for zone, kind in OFFERINGS],
    }
