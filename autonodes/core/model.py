"""The domain model: immutable values that the planner reads and returns.

Resources are integers: ``cpu`` in millicores, everything else (``memory``, ``ephemeral-storage``, ``pods``,
``nvidia.com/gpu``) in its own unit, rounded up for requests and down for capacity. Times are seconds since the epoch,
prices US dollars an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NewType

from autonodes.core.devices import Device, DeviceState
from autonodes.core.podterms import PodTerm, Preferences, Spread
from autonodes.core.requirements import Requirements
from autonodes.core.storage import PodVolume

PodUID = NewType("PodUID", str)
Resources = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True)
class Toleration:
    """As in PodSpec; empty key with ``Exists`` tolerates everything, empty effect matches all effects."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True)
class HostPort:
    port: int
    protocol: str = "TCP"
    ip: str = "0.0.0.0"  # noqa: S104 -- Kubernetes' own default: every address of the host


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What scheduling needs of a pod.

    :param requests: the effective request: containers, init and sidecar containers, pod-level resources and overhead
        by the rules of KEP-753 and KEP-2837, with ``pods: 1``
    :param required_terms: the OR-ed terms of required node affinity, each with the node selector folded in; with no
        affinity one term that is the node selector
    :param spread: topology spread constraints, hard and soft, in the order of the spec
    :param near: required pod affinity
    :param apart: required pod anti-affinity
    :param preferences: preferred node and pod affinity; None for none
    :param volumes: those that a PersistentVolumeClaim stands for; `autonodes.core.volumes` says what they ask for
    :param owner_kind: kind of the controlling owner (``ReplicaSet``, ``DaemonSet``, ``Node``), or ""
    :param nominated_node: ``status.nominatedNodeName``
    :param group: name of the PodGroup of its namespace that it belongs to (``spec.schedulingGroup``), or ""
    :param resource_claims: names of the ResourceClaims of its namespace whose devices it uses; one that is still to be
        made from a template stands as "TEMPLATE*"
    :param fault: what in its spec makes it impossible to plan (path, value, remedy), or ""; such a pod is reported
        and the others are planned all the same
    :param started_at: when the kubelet acknowledged it
    """

    uid: PodUID
    namespace: str
    name: str
    requests: Resources
    required_terms: tuple[Requirements, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    host_ports: tuple[HostPort, ...] = ()
    spread: tuple[Spread, ...] = ()
    near: tuple[PodTerm, ...] = ()
    apart: tuple[PodTerm, ...] = ()
    preferences: Preferences | None = None
    volumes: tuple[PodVolume, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    owner_kind: str = ""
    owner_uid: str = ""
    node_name: str = ""
    nominated_node: str = ""
    phase: str = "Pending"
    ready: bool = False
    unschedulable: bool = False
    gated: bool = False
    group: str = ""
    resource_claims: tuple[str, ...] = ()
    fault: str = ""
    created_at: float = 0.0
    started_at: float | None = None
    deleted_at: float | None = None
    grace_period: float = 30.0

    @property
    def key(self) -> str:
        """``namespace/name``"""
        return f"{self.namespace}/{self.name}"

    @property
    def terminal(self) -> bool:
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class NodeCondition:
    """:param since: when it took this status, in seconds since the epoch"""

    type: str
    status: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    name: str
    uid: str = ""
    provider_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    capacity: Resources = field(default_factory=dict)
    allocatable: Resources = field(default_factory=dict)
    conditions: tuple[NodeCondition, ...] = ()
    ready: bool = False
    unschedulable: bool = False
    addresses: tuple[str, ...] = ()
    created_at: float = 0.0
    deleted_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """Where and how an instance type can be had.

    :param price: dollars an hour; None is "no price known", and that is never bought
    :param reservation: id of the reservation that it draws on, in the provider's words, or ""
    :param count: how many machines more can be launched from it; None for no limit
    """

    zone: str
    capacity_type: str
    price: float | None
    available: bool = True
    reservation: str = ""
    count: int | None = None


@dataclass(frozen=True, kw_only=True)
class InstanceType:
    """:param requirements: the labels that a node of this type can have (zone and capacity type come from offerings)
    :param overhead: what the system keeps for itself; allocatable = capacity - overhead
    :param devices: what its nodes' DRA drivers will publish
    """

    name: str
    requirements: Requirements
    capacity: Resources
    overhead: Resources
    offerings: tuple[Offering, ...]
    devices: tuple[Device, ...] = ()

    @cached_property
    def allocatable(self) -> Resources:
        return {name: max(0, amount - self.overhead.get(name, 0)) for name, amount in self.capacity.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many nodes of a pool may be disrupted at the same time.

    :param nodes: a number or a percentage of the pool's nodes, which is rounded up
    :param schedule: UTC cron expression of the moments at which the budget becomes active; "" for always
    :param duration: seconds that it stays active; None together with an empty schedule
    :param reasons: ``Underutilized``, ``Empty``, ``Drifted``; empty for all
    """

    nodes: str = "10%"
    schedule: str = ""
    duration: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePool:
    """:param requirements: the template's requirements and labels in one algebra
    :param limits: resources as above, ``nodes``, and microdollars an hour (`money.COST`); empty for no limit
    :param planning_deadline: seconds that a plan that may buy from it may take to become cheaper; 0: the first answer
    :param hash: of the template's static fields, for drift
    """

    name: str
    uid: str = ""
    weight: int = 0
    requirements: Requirements
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    startup_taints: tuple[Taint, ...] = ()
    limits: Resources = field(default_factory=dict)
    planning_deadline: float = 0.0
    node_class: tuple[str, str, str] = ("", "", "")
    hash: str = ""
    ready: bool = True
    consolidation_policy: str = "WhenEmptyOrUnderutilized"
    consolidate_after: float | None = 0.0
    budgets: tuple[Budget, ...] = (Budget(),)
    expire_after: float | None = 2592000.0
    termination_grace_period: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A NodeClaim that was written earlier: capacity in flight, or behind a node.

    :param allocatable: of the machine once launched; before that of the smallest type that the claim allows
    :param requirements: what its node's labels will satisfy
    :param termination_grace_period: seconds after which its drain is cut short; None for never
    """

    name: str
    uid: str
    pool: str
    requirements: Requirements
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    startup_taints: tuple[Taint, ...] = ()
    requests: Resources = field(default_factory=dict)
    capacity: Resources = field(default_factory=dict)
    allocatable: Resources = field(default_factory=dict)
    provider_id: str = ""
    node_name: str = ""
    launched: bool = False
    registered: bool = False
    initialized: bool = False
    termination_grace_period: float | None = None
    created_at: float = 0.0
    deleted_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSet:
    """A DaemonSet, as the pod that it would put on a node (``pod.node_name`` empty)."""

    namespace: str
    name: str
    pod: Pod


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGroup:
    """Pods that are of use only together (``scheduling.k8s.io``, KEP-4671).

    :param min_count: pods that must have a node before any gets one; 0 if it is not a gang
    :param topology_key: node label of which all its pods must see one value, or ""
    """

    namespace: str
    name: str
    min_count: int
    topology_key: str = ""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that the planner sees, at one moment.

    :param pods: every pod that is not terminal, bound or not
    :param instance_types: by pool name
    :param namespaces: the labels of each namespace
    :param preference_policy: ``Respect`` or ``Ignore``
    :param min_values_policy: ``Strict`` or ``BestEffort``
    :param limits: as a pool's, for all pools together
    :param static_pools: those with ``replicas``, that are ready: nothing is bought from them for pods
    :param nominations: what earlier plans promised and nobody has contradicted yet: pod → name of the node or claim.
        A pod goes where it was promised if it still fits, so that planning again never buys for it again
    """

    now: float
    pods: tuple[Pod, ...]
    nodes: tuple[Node, ...]
    claims: tuple[Claim, ...]
    pools: tuple[NodePool, ...]
    instance_types: Mapping[str, tuple[InstanceType, ...]]
    daemonsets: tuple[DaemonSet, ...] = ()
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    preference_policy: str = "Respect"
    min_values_policy: str = "Strict"
    groups: tuple[PodGroup, ...] = ()
    devices: DeviceState = field(default_factory=DeviceState)
    limits: Resources = field(default_factory=dict)
    static_pools: tuple[NodePool, ...] = ()
    nominations: Mapping[PodUID, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why something ruled a pod out: ``code`` for machines (``InsufficientResources``), ``text`` for people."""

    pool: str
    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """A node to buy.

    :param candidates: instance type names with (zone, capacity type, price), cheapest first; any of them holds all
        pods. Empty for a static pool's: whatever it allows is chosen at the launch
    :param requirements: what goes into the NodeClaim: pool's and pods' requirements, the candidate types and offerings
    :param requests: the pods' requests and the daemons' overhead
    :param groups: ``namespace/name`` of the groups of pods that it is for
    :param annotations: of its NodeClaim, beside the pool's
    :param relaxed: the pool's ``minValues`` that the candidates fall short of (policy ``BestEffort``), for people
    """

    pool: str
    pods: tuple[PodUID, ...]
    requirements: Requirements
    requests: Resources
    candidates: tuple[tuple[str, str, str, float], ...]
    groups: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    relaxed: tuple[str, ...] = ()

    @property
    def price(self) -> float:
        """Dollars an hour of the cheapest candidate; 0 where the choice is left to the launch."""
        return self.candidates[0][3] if self.candidates else 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """:param purchases: nodes to buy, in the order of the pods that opened them
    :param placements: pod → name of the existing node or in-flight claim that will take it
    :param unplaced: pod → why not, one reason a pool (a single one with pool "" where the pod itself is at fault)
    :param refused_groups: ``namespace/name`` of the groups of pods that are all there and can't have all they need, so
        that nothing is bought for them
    """

    purchases: tuple[Purchase, ...] = ()
    placements: Mapping[PodUID, str] = field(default_factory=dict)
    unplaced: Mapping[PodUID, tuple[Reason, ...]] = field(default_factory=dict)
    refused_groups: tuple[str, ...] = ()

    @property
    def cost(self) -> float:
        """Dollars an hour of all purchases at their cheapest candidate."""
        return sum(purchase.price for purchase in self.purchases)
