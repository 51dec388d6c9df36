"""Small clusters at random: few values of everything, so that constraints meet."""

from __future__ import annotations

from hypothesis import strategies as st

from autonodes.core.labels import ARCH, CAPACITY_TYPE, EXPENDABLE, HOSTNAME, INSTANCE_TYPE, NODE_POOL, OS, ZONE
from autonodes.core.model import (
    DaemonSet,
    HostPort,
    InstanceType,
    Node,
    NodePool,
    Offering,
    Pod,
    PodUID,
    Snapshot,
    Taint,
    Toleration,
)
from autonodes.core.podterms import PodSelector, PodTerm, Spread
from autonodes.core.requirements import Requirement, Requirements

GI = 2**30
GPU = "nvidia.com/gpu"
TEAM = "example.com/team"
ZONES = ("z1", "z2")
TYPES = tuple(f"type-{number}" for number in range(5))

taints = st.lists(
    st.sampled_from(
        [Taint("gpu"), Taint("team", "a"), Taint("team", "a", "NoExecute"), Taint("soft", "", "PreferNoSchedule")]
    ),
    max_size=1,
).map(tuple)
tolerations = st.lists(
    st.sampled_from([Toleration("gpu", "Exists"), Toleration("team", "Equal", "a"), Toleration("", "Exists")]),
    max_size=2,
).map(tuple)
ports = st.lists(
    st.sampled_from([HostPort(80), HostPort(80, "UDP"), HostPort(80, "TCP", "10.0.0.1"), HostPort(443)]), max_size=1
).map(tuple)

selectors = st.sampled_from(
    [
        Requirement.of(ZONE, "In", ["z1"]),
        Requirement.of(ZONE, "NotIn", ["z1"]),
        Requirement.of(CAPACITY_TYPE, "In", ["on-demand"]),
        Requirement.of(INSTANCE_TYPE, "In", ["type-0", "type-3"]),
        Requirement.of(ARCH, "In", ["arm64"]),
        Requirement.of(OS, "In", ["linux"]),
        Requirement.of(OS, "In", ["windows"]),
        Requirement.of(TEAM, "In", ["a"]),
        Requirement.of(TEAM, "NotIn", ["a"]),
        Requirement.of(TEAM, "Exists"),
        Requirement.of(TEAM, "DoesNotExist"),
        Requirement.of("example.com/size", "Gt", ["2"]),
        Requirement.of("example.com/unknown", "DoesNotExist"),
        Requirement.of("example.com/unknown", "Exists"),
        Requirement.of("topology.kubernetes.io/region", "In", ["here"]),
        Requirement.of("topology.kubernetes.io/region", "NotIn", ["here"]),
    ]
)
terms = st.lists(st.lists(selectors, max_size=2).map(Requirements), max_size=2).map(tuple)
pool_requirements = st.lists(
    st.sampled_from(
        [
            Requirement.of(TEAM, "In", ["a"]),
            Requirement.of(TEAM, "In", ["a", "b"]),
            Requirement.of(TEAM, "Exists"),
            Requirement.of(ZONE, "In", ["z1"]),
            Requirement.of(OS, "In", ["linux"]),
            Requirement.of(CAPACITY_TYPE, "In", ["on-demand", "spot"]),
            Requirement.of(INSTANCE_TYPE, "Exists", min_values=2),
            Requirement.of(ZONE, "Exists", min_values=2),
        ]
    ),
    max_size=2,
).map(Requirements)


pod_labels = st.sampled_from([{}, {"app": "a"}, {"app": "a"}, {"app": "b"}])
pod_selectors = st.builds(
    PodSelector,
    st.sampled_from([Requirements.from_labels({"app": "a"}), Requirements.from_labels({"app": "b"}), Requirements()]),
    st.sampled_from([frozenset({"default"}), frozenset({"default"}), frozenset({"other"})]),
    st.sampled_from([None, None, None, Requirements()]),
)
domain_keys = st.sampled_from([ZONE, HOSTNAME, HOSTNAME, CAPACITY_TYPE, TEAM])
pod_terms = st.lists(st.builds(PodTerm, domain_keys, pod_selectors), max_size=1).map(tuple)
spreads = st.lists(
    st.builds(
        Spread,
        domain_keys,
        pod_selectors,
        max_skew=st.sampled_from([1, 1, 2]),
        min_domains=st.sampled_from([1, 1, 2, 3]),
        hard=st.sampled_from([True, True, False]),
        honor_affinity=st.booleans(),
        honor_taints=st.booleans(),
    ),
    max_size=2,
).map(tuple)


@st.composite
def topology(draw: st.DrawFn) -> dict[str, object]:
    """What most pods don't have."""
    if draw(st.booleans()):
        return {"labels": draw(pod_labels)}
    return {
        "labels": draw(pod_labels),
        "spread": draw(st.one_of(st.just(()), spreads)),
        "near": draw(st.one_of(st.just(()), st.just(()), pod_terms)),
        "apart": draw(st.one_of(st.just(()), pod_terms)),
    }


@st.composite
def requests(draw: st.DrawFn) -> dict[str, int]:
    result = {"pods": 1}
    if cpu := draw(st.sampled_from([0, 100, 500, 1000, 3000, 9000])):
        result["cpu"] = cpu
    if memory := draw(st.sampled_from([0, GI // 4, GI, 3 * GI])):
        result["memory"] = memory
    if gpus := draw(st.sampled_from([0, 0, 0, 0, 1, 2])):
        result[GPU] = gpus
    return result


@st.composite
def instance_types(draw: st.DrawFn, name: str) -> InstanceType:
    cpu = draw(st.sampled_from([1, 2, 4, 8]))
    gpus = draw(st.sampled_from([0, 0, 0, 1, 4]))
    price = cpu * draw(st.sampled_from([0.1, 0.12, 0.3])) + gpus
    offerings = [
        Offering(
            zone=zone,
            capacity_type=kind,
            price=draw(st.sampled_from([price, price, round(price * 0.5, 4), None])),
            available=draw(st.sampled_from([True, True, True, False])),
        )
        for zone in ZONES
        for kind in ("spot", "on-demand")
        if draw(st.booleans())
    ]
    labels = Requirements(
        [
            Requirement.of(ARCH, "In", [draw(st.sampled_from(["amd64", "arm64"]))]),
            Requirement.of(OS, "In", draw(st.sampled_from([["linux"], ["linux", "windows"]]))),
            Requirement.of("example.com/size", "In", [str(cpu)]),
        ]
    )
    capacity = {
        "cpu": cpu * 1000,
        "memory": cpu * draw(st.sampled_from([2, 4])) * GI,
        "pods": draw(st.sampled_from([3, 20])),
    }
    return InstanceType(
        name=name,
        requirements=labels,
        capacity={**capacity, GPU: gpus} if gpus else capacity,
        overhead={"cpu": 100, "memory": GI // 8},
        offerings=tuple(offerings),
    )


@st.composite
def pools(draw: st.DrawFn, name: str) -> NodePool:
    return NodePool(
        name=name,
        weight=draw(st.sampled_from([0, 0, 10])),
        requirements=draw(pool_requirements),
        taints=draw(st.one_of(st.just(()), taints)),
        startup_taints=draw(st.sampled_from([(), (Taint("starting"),)])),
        limits=draw(st.sampled_from([{}, {}, {"cpu": 9000}, {"nodes": 2}, {"cpu": 20000, "memory": 30 * GI}])),
        ready=draw(st.sampled_from([True, True, True, False])),
    )


@st.composite
def pending(draw: st.DrawFn, number: int) -> list[Pod]:
    """A few equal pods."""
    return [
        Pod(
            uid=PodUID(f"{number}-{index}"),
            namespace="default",
            name=f"pod-{number}-{index}",
            requests=wanted,
            required_terms=where,
            tolerations=tolerated,
            host_ports=host_ports,
            priority=priority,
            annotations=annotations,
            unschedulable=True,
            created_at=float(number),
            **others,
        )
        for wanted, where, tolerated, host_ports, priority, annotations, others in [
            (
                draw(requests()),
                draw(terms),
                draw(tolerations),
                draw(ports),
                draw(st.sampled_from([0, 0, 100])),
                draw(st.sampled_from([{}, {}, {}, {EXPENDABLE: "true"}])),
                draw(topology()),
            )
        ]
        for index in range(draw(st.integers(1, 6)))
    ]


@st.composite
def daemonsets(draw: st.DrawFn, number: int) -> DaemonSet:
    pod = Pod(
        uid=PodUID(f"daemon-{number}"),
        namespace="kube-system",
        name=f"daemon-{number}",
        requests={"cpu": draw(st.sampled_from([50, 500])), "memory": GI // 8, "pods": 1},
        required_terms=draw(terms),
        tolerations=draw(tolerations),
        host_ports=draw(ports),
        owner_kind="DaemonSet",
    )
    return DaemonSet(namespace="kube-system", name=pod.name, pod=pod)


@st.composite
def nodes(draw: st.DrawFn, number: int) -> tuple[Node, list[Pod]]:
    """A node that no claim stands behind, and what runs on it."""
    name = f"node-{number}"
    labels = {
        HOSTNAME: name,
        ZONE: draw(st.sampled_from(ZONES)),
        OS: "linux",
        ARCH: draw(st.sampled_from(["amd64", "arm64"])),
        **draw(st.sampled_from([{}, {TEAM: "a"}, {NODE_POOL: "pool-0"}])),
    }
    node = Node(
        name=name,
        labels=labels,
        taints=draw(st.one_of(st.just(()), taints)),
        capacity={"cpu": 4000, "memory": 8 * GI, "pods": 10},
        allocatable={"cpu": 3900, "memory": 7 * GI, "pods": 10},
        ready=True,
        unschedulable=draw(st.sampled_from([False, False, True])),
        deleted_at=draw(st.sampled_from([None, None, 1.0])),
    )
    running = Pod(
        uid=PodUID(f"running-{number}"),
        namespace="default",
        name=f"running-{number}",
        requests=draw(requests()),
        host_ports=draw(ports),
        node_name=name,
        phase="Running",
        labels=draw(pod_labels),
        apart=draw(st.one_of(st.just(()), st.just(()), pod_terms)),
    )
    return node, [running]


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    types = [draw(instance_types(name)) for name in TYPES[: draw(st.integers(1, len(TYPES)))]]
    listed = [draw(pools(f"pool-{number}")) for number in range(draw(st.integers(0, 3)))]
    present = [draw(nodes(number)) for number in range(draw(st.integers(0, 2)))]
    waiting = [draw(pending(number)) for number in range(draw(st.integers(0, 6)))]
    return Snapshot(
        now=1000.0,
        pods=tuple(pod for group in (*waiting, *(running for _, running in present)) for pod in group),
        nodes=tuple(node for node, _ in present),
        claims=(),
        pools=tuple(listed),
        instance_types={pool.name: tuple(types) for pool in listed},
        daemonsets=tuple(draw(daemonsets(number)) for number in range(draw(st.integers(0, 2)))),
        min_values_policy=draw(st.sampled_from(["Strict", "BestEffort"])),
        preference_policy=draw(st.sampled_from(["Respect", "Respect", "Ignore"])),
    )
