"""Manifests that a user might write, good and bad, and what should become of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

IN = {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}
REFERENCE = {"group": "autonodes.io", "kind": "LocalNodeClass", "name": "default"}
TEMPLATE = "spec.template.spec"
METADATA = "spec.template.metadata"
BUDGETS = "spec.disruption.budgets"


@dataclass(frozen=True)
class Case:
    """:param at: the field that must be named when it is refused; "" if it must be accepted
    :param peer: whether Karpenter's schema says the same
    """

    title: str
    manifest: Manifest
    at: str = ""
    peer: bool = True

    def __str__(self) -> str:
        return self.title


def pool(*, template: Manifest | None = None, metadata: Manifest | None = None, **spec: Any) -> Manifest:
    given = {"requirements": [IN], "nodeClassRef": REFERENCE} | (template or {})
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": "default"},
        "spec": {"template": {"metadata": metadata or {}, "spec": given}, **spec},
    }


def claim(**spec: Any) -> Manifest:
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {"name": "default"},
        "spec": {"requirements": [IN], "nodeClassRef": REFERENCE} | spec,
    }


def requiring(*requirements: Manifest) -> Manifest:
    return pool(template={"requirements": list(requirements)})


def line(key: str, operator: str, *values: Any, **more: Any) -> Manifest:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {}), **more}


def disrupted(**disruption: Any) -> Manifest:
    return pool(disruption={"consolidateAfter": "30s"} | disruption)


def budget(**fields: Any) -> Manifest:
    return disrupted(budgets=[fields])


def taint(**fields: Any) -> Manifest:
    return pool(template={"taints": [{"key": "team", "effect": "NoSchedule"} | fields]})


_AWS = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}
_GENERAL = [
    line("kubernetes.io/arch", "In", "amd64"),
    line("kubernetes.io/os", "In", "linux"),
    line("karpenter.sh/capacity-type", "In", "on-demand"),
    line("karpenter.k8s.aws/instance-category", "In", "c", "m", "r"),
    line("karpenter.k8s.aws/instance-generation", "Gt", "2"),
]

LIKE_UPSTREAM = [
    Case("general purpose", pool(template={"requirements": _GENERAL, "nodeClassRef": _AWS})),
    Case("a limit of 100 cores", pool(template={"requirements": _GENERAL, "nodeClassRef": _AWS}, limits={"cpu": 100})),
    Case(
        "large machines",
        pool(
            template={
                "requirements": [
                    line("karpenter.k8s.aws/instance-cpu", "Gt", "3"),
                    line("karpenter.k8s.aws/instance-memory", "Gt", "8191"),
                ],
                "nodeClassRef": _AWS,
            }
        ),
    ),
    Case(
        "spot with a wide choice",
        pool(
            template={
                "requirements": [
                    line("karpenter.sh/capacity-type", "In", "spot"),
                    line("karpenter.k8s.aws/instance-category", "In", "c", "m", "r", minValues=2),
                    line("karpenter.k8s.aws/instance-family", "Exists", minValues=5),
                    line("node.kubernetes.io/instance-type", "Exists", minValues=2),
                ],
                "nodeClassRef": _AWS,
            }
        ),
    ),
    Case("windows", pool(template={"requirements": [line("kubernetes.io/os", "In", "windows")], "nodeClassRef": _AWS})),
    Case(
        "a node lives a week at most",
        pool(
            template={"expireAfter": "168h", "terminationGracePeriod": "24h"},
            disruption={"consolidationPolicy": "WhenEmpty", "consolidateAfter": "60s"},
        ),
    ),
    Case(
        "everything at once",
        pool(
            metadata={"labels": {"billing-team": "my-team"}, "annotations": {"example.com/owner": "my-team"}},
            template={
                "taints": [{"key": "example.com/special-taint", "effect": "NoSchedule"}],
                "startupTaints": [{"key": "example.com/another-taint", "value": "x", "effect": "NoExecute"}],
                "expireAfter": "Never",
                "terminationGracePeriod": "48h",
                "requirements": [
                    line("karpenter.k8s.aws/instance-category", "In", "c", "m", "r", minValues=2),
                    line("karpenter.k8s.aws/instance-cpu", "In", "4", "8", "16", "32"),
                    line("karpenter.k8s.aws/instance-hypervisor", "In", "nitro"),
                    line("topology.kubernetes.io/zone", "NotIn", "us-west-2a", "us-west-2b"),
                    line("karpenter.sh/capacity-type", "In", "spot", "on-demand"),
                    line("example.com/gpu", "DoesNotExist"),
                    line("example.com/slots", "Gte", "2"),
                    line("example.com/slots", "Lte", "9"),
                    line("example.com/slots", "Lt", "9"),
                ],
                "nodeClassRef": _AWS,
            },
            disruption={
                "consolidationPolicy": "WhenEmptyOrUnderutilized",
                "consolidateAfter": "1m",
                "budgets": [
                    {"nodes": "10%"},
                    {"nodes": "0", "schedule": "0 9 * * mon-fri", "duration": "8h", "reasons": ["Drifted"]},
                    {"nodes": "100%", "schedule": "@daily", "duration": "10m", "reasons": ["Empty", "Underutilized"]},
                ],
            },
            limits={"cpu": "1000", "memory": "1000Gi", "nodes": 50, "nvidia.com/gpu": 2},
            weight=10,
        ),
    ),
    Case("a fixed number of nodes", pool(replicas=3, limits={"nodes": 5})),
]
"""Of the forms that Karpenter's own examples have, field by field."""

GOOD = [
    *LIKE_UPSTREAM,
    Case("no requirement at all", requiring()),
    Case("no node wanted yet", pool(replicas=0)),
    *(Case(f"consolidation policy {each}", disrupted(consolidationPolicy=each)) for each in ("Balanced", "WhenEmpty")),
    *(Case(f"consolidateAfter {each}", pool(disruption={"consolidateAfter": each})) for each in ("Never", "1h30m5s")),
    Case("not in an empty set", requiring(line("example.com/a", "NotIn"))),
    Case("Exists with values that say nothing", requiring(line("example.com/a", "Exists", "b"))),
    Case("a well-known label under an old name", requiring(line("beta.kubernetes.io/arch", "In", "amd64"))),
    Case("a label of a Kubernetes domain", requiring(line("node-restriction.kubernetes.io/x", "In", "y"))),
    Case("the same taint key with two effects", pool(template={"taints": [
        {"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}]})),
    Case("51 values", requiring(line("example.com/a", "In", *map(str, range(51))))),
    Case("an empty label value", requiring(line("example.com/a", "In", ""))),
    Case("a quantity with an exponent", pool(limits={"memory": "1e9"})),
    Case("a budget without a number", budget(reasons=["Empty"])),
    Case("a claim", claim(resources={"requests": {"cpu": "1500m", "memory": "1Gi"}}, expireAfter="10m")),
    Case("a claim for a pool by name", claim(requirements=[line("karpenter.sh/nodepool", "In", "default")])),
    Case("a foreign domain that ends alike", requiring(line("mykarpenter.sh/a", "Exists")), peer=False),
]  # fmt: skip

BAD = [
    Case("no template", {**pool(), "spec": {}}, "spec.template"),
    Case("no requirements", pool(template={"requirements": None}), f"{TEMPLATE}.requirements"),
    Case("no node class", pool(template={"nodeClassRef": None}), f"{TEMPLATE}.nodeClassRef"),
    *(Case(f"node class without {each}", pool(template={"nodeClassRef": REFERENCE | {each: ""}}),
           f"{TEMPLATE}.nodeClassRef.{each}") for each in REFERENCE),
    Case("node class with a version", pool(template={"nodeClassRef": REFERENCE | {"group": "a.io/v1"}}),
         f"{TEMPLATE}.nodeClassRef.group"),
    *(Case(f"requires {key}", requiring(IN, line(key, "Exists")), f"{TEMPLATE}.requirements[1].key")
      for key in ("kubernetes.io/hostname", "karpenter.sh/nodepool", "karpenter.sh/x", "a.karpenter.sh/x", "a b",
                  "UPPER.example/x", "")),
    *(Case(f"operator {each}", requiring(line("a", each, "1")), f"{TEMPLATE}.requirements[0].operator")
      for each in ("in", "==", "")),
    Case("In without values", requiring(line("a", "In")), f"{TEMPLATE}.requirements[0].values"),
    Case("In with no value", requiring(line("a", "In") | {"values": []}), f"{TEMPLATE}.requirements[0].values"),
    *(Case(f"{operator} {values}", requiring(line("a", operator, *values)), f"{TEMPLATE}.requirements[0].values")
      for operator in ("Gt", "Lt", "Gte", "Lte") for values in (["many"], ["-1"], ["1", "2"], [], ["1.5"])),
    *(Case(f"minValues {each}", requiring(line("a", "Exists", minValues=each)),
           f"{TEMPLATE}.requirements[0].minValues") for each in (0, -1, 51, "2")),
    Case("more minValues than values", requiring(line("a", "In", "x", minValues=2)),
         f"{TEMPLATE}.requirements[0].minValues"),
    Case("101 requirements", requiring(*[IN] * 101), f"{TEMPLATE}.requirements"),
    Case("a number for a value", requiring(line("a", "In", 2)), f"{TEMPLATE}.requirements[0].values[0]"),
    Case("a value that is no label value", requiring(line("a", "In", "a b")),
         f"{TEMPLATE}.requirements[0].values[0]", peer=False),
    Case("a value that is too long", requiring(line("a", "NotIn", "a" * 64)),
         f"{TEMPLATE}.requirements[0].values[0]", peer=False),
    *(Case(f"label {key}", pool(metadata={"labels": {key: "x"}}), f"{METADATA}.labels")
      for key in ("kubernetes.io/hostname", "karpenter.sh/nodepool", "karpenter.sh/x", "a.karpenter.sh/x")),
    Case("a label value with a space", pool(metadata={"labels": {"a": "b c"}}), f"{METADATA}.labels.a"),
    Case("a label value that is too long", pool(metadata={"labels": {"a": "b" * 64}}), f"{METADATA}.labels.a"),
    Case("101 labels", pool(metadata={"labels": {f"a{n}": "" for n in range(101)}}), f"{METADATA}.labels"),
    *(Case(f"taint with {field} {value!r}", taint(**{field: value}), f"{TEMPLATE}.taints[0].{field}")
      for field, value in (("key", ""), ("key", "a b"), ("value", "a b"), ("effect", "no"), ("effect", None))),
    *(Case(f"{field} {value}", pool(template={field: value}), f"{TEMPLATE}.{field}")
      for field in ("expireAfter", "terminationGracePeriod") for value in ("-1s", "1hr", "FooNever", "1.5h", "30d")),
    Case("a drain without an end", pool(template={"terminationGracePeriod": "Never"}),
         f"{TEMPLATE}.terminationGracePeriod"),
    Case("disruption without consolidateAfter", pool(disruption={"consolidationPolicy": "WhenEmpty"}),
         "spec.disruption.consolidateAfter"),
    *(Case(f"consolidateAfter {each}", disrupted(consolidateAfter=each), "spec.disruption.consolidateAfter")
      for each in ("-1s", "1hr", "never", 30)),
    *(Case(f"consolidation policy {each!r}", disrupted(consolidationPolicy=each), "spec.disruption.consolidationPolicy")
      for each in ("WhenUnderutilized", "balanced", "")),
    *(Case(f"budget of {each}", budget(nodes=each), f"{BUDGETS}[0].nodes") for each in ("-10", "-10%", "101%", "x", 5)),
    *(Case(f"budget with schedule {each!r}", budget(nodes="1", schedule=each, duration="1h"), f"{BUDGETS}[0].schedule")
      for each in ("*", "* * * *", "@noon", "")),
    *(Case(f"budget for {each}", budget(nodes="1", schedule="@daily", duration=each), f"{BUDGETS}[0].duration")
      for each in ("-20m", "30s", "1d", "20m1h")),
    Case("a schedule that starts well", budget(nodes="1", schedule="@dailyfoo", duration="1h"),
         f"{BUDGETS}[0].schedule", peer=False),
    Case("schedule without duration", budget(nodes="1", schedule="@daily"), BUDGETS),
    Case("duration without schedule", budget(nodes="1", duration="1h"), BUDGETS),
    Case("51 budgets", disrupted(budgets=[{"nodes": "1"}] * 51), BUDGETS),
    *(Case(f"reason {each!r}", budget(nodes="1", reasons=[each]), f"{BUDGETS}[0].reasons[0]")
      for each in ("invalid", "expired", "")),
    *(Case(f"weight {each}", pool(weight=each), "spec.weight") for each in (0, 101, "10", 1.5)),
    *(Case(f"{each} replicas", pool(replicas=each), "spec.replicas") for each in (-1, "1")),
    *(Case(f"a static pool with a limit on {each}", pool(replicas=1, limits={each: "1"}), "spec.limits")
      for each in ("cpu", "memory", "pods", "ephemeral-storage")),
    Case("a static pool with a weight", pool(replicas=1, weight=1), "spec.weight"),
    *(Case(f"limit {each!r}", pool(limits={"cpu": each}), "spec.limits.cpu") for each in ("many", "1 core", 1.5, True)),
    Case("a claim without requirements", claim(requirements=None), "spec.requirements"),
    Case("a claim for a host", claim(requirements=[line("kubernetes.io/hostname", "In", "a")]),
         "spec.requirements[0].key"),
    Case("a claim in the controller's domain", claim(requirements=[line("karpenter.sh/x", "Exists")]),
         "spec.requirements[0].key"),
    Case("a claim of a bad amount", claim(resources={"requests": {"cpu": "x"}}), "spec.resources.requests.cpu"),
]  # fmt: skip
