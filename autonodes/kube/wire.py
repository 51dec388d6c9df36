"""The few fields of Kubernetes' objects that this project reads, as msgspec structs that skip all others.

Names and optionality are those of the JSON. A list or map that Go may write as ``null`` is optional here.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

Quantities = dict[str, str | int | float]


class Struct(msgspec.Struct, rename="camel", gc=False):
    """Not tracked by the garbage collector: none of these live longer than one decoding."""


class Owner(Struct):
    kind: str
    uid: str
    name: str = ""
    controller: bool | None = None


class Metadata(Struct):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    owner_references: list[Owner] | None = None


class ResourceRequirements(Struct):
    requests: Quantities | None = None
    limits: Quantities | None = None


class ContainerPort(Struct, rename={"host_ip": "hostIP", "host_port": "hostPort", "container_port": "containerPort"}):
    container_port: int = 0
    host_port: int = 0
    host_ip: str = ""
    protocol: str = "TCP"


class Container(Struct):
    name: str = ""
    resources: ResourceRequirements | None = None
    ports: list[ContainerPort] | None = None
    restart_policy: str = ""


class Toleration(Struct):
    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""


class Expression(Struct):
    key: str
    operator: str
    values: list[str] | None = None


class NodeSelectorTerm(Struct):
    match_expressions: list[Expression] | None = None
    match_fields: list[Expression] | None = None


class NodeSelector(Struct):
    node_selector_terms: list[NodeSelectorTerm]


class NodeAffinity(Struct, rename={"required": "requiredDuringSchedulingIgnoredDuringExecution"}):
    required: NodeSelector | None = None


class Affinity(Struct):
    node_affinity: NodeAffinity | None = None


class SchedulingGate(Struct):
    name: str


class ClaimSource(Struct):
    claim_name: str


class ClaimTemplateSpec(Struct):
    storage_class_name: str | None = None


class ClaimTemplate(Struct):
    spec: ClaimTemplateSpec


class EphemeralSource(Struct):
    volume_claim_template: ClaimTemplate


class PodVolume(Struct):
    name: str
    persistent_volume_claim: ClaimSource | None = None
    ephemeral: EphemeralSource | None = None


class PodSpec(Struct):
    containers: list[Container]
    volumes: list[PodVolume] | None = None
    init_containers: list[Container] | None = None
    resources: ResourceRequirements | None = None
    overhead: Quantities | None = None
    node_name: str = ""
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: list[Toleration] | None = None
    priority: int | None = None
    host_network: bool = False
    termination_grace_period_seconds: float | None = None
    scheduling_gates: list[SchedulingGate] | None = None


class Condition(Struct):
    type: str
    status: str
    reason: str = ""


class ContainerStatus(Struct):
    name: str
    resources: ResourceRequirements | None = None
    allocated_resources: Quantities | None = None


class PodStatus(Struct):
    phase: str = "Pending"
    conditions: list[Condition] | None = None
    nominated_node_name: str = ""
    start_time: datetime | None = None
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None


class Pod(Struct):
    metadata: Metadata
    spec: PodSpec
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class PodTemplate(Struct):
    spec: PodSpec
    metadata: Metadata = msgspec.field(default_factory=Metadata)


class DaemonSetSpec(Struct):
    template: PodTemplate


class DaemonSet(Struct):
    metadata: Metadata
    spec: DaemonSetSpec


class Taint(Struct):
    key: str
    effect: str
    value: str = ""


class NodeSpec(Struct, rename={"provider_id": "providerID"}):
    provider_id: str = ""
    unschedulable: bool = False
    taints: list[Taint] | None = None


class NodeAddress(Struct):
    type: str
    address: str


class NodeStatus(Struct):
    capacity: Quantities | None = None
    allocatable: Quantities | None = None
    conditions: list[Condition] | None = None
    addresses: list[NodeAddress] | None = None


class Node(Struct):
    metadata: Metadata
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class LabelSelector(Struct):
    match_labels: dict[str, str] | None = None
    match_expressions: list[Expression] | None = None


class VolumeClaimSpec(Struct):
    volume_name: str = ""
    storage_class_name: str | None = None
    access_modes: list[str] | None = None
    resources: ResourceRequirements | None = None


class VolumeClaimStatus(Struct):
    phase: str = ""


class VolumeClaim(Struct):
    metadata: Metadata
    spec: VolumeClaimSpec = msgspec.field(default_factory=VolumeClaimSpec)
    status: VolumeClaimStatus = msgspec.field(default_factory=VolumeClaimStatus)


class VolumeNodeAffinity(Struct):
    required: NodeSelector | None = None


class CSISource(Struct):
    driver: str


class Present(Struct):
    """Something of which only matters that it is there."""


class VolumeSpec(Struct):
    capacity: Quantities | None = None
    storage_class_name: str = ""
    node_affinity: VolumeNodeAffinity | None = None
    claim_ref: Present | None = None
    csi: CSISource | None = None
    aws_elastic_block_store: Present | None = None
    gce_persistent_disk: Present | None = None
    azure_disk: Present | None = None
    cinder: Present | None = None
    vsphere_volume: Present | None = None


class Volume(Struct):
    metadata: Metadata
    spec: VolumeSpec = msgspec.field(default_factory=VolumeSpec)


class TopologyExpression(Struct):
    key: str
    values: list[str]


class TopologyTerm(Struct):
    match_label_expressions: list[TopologyExpression] | None = None


class StorageClass(Struct):
    metadata: Metadata
    provisioner: str
    volume_binding_mode: str = "Immediate"
    allowed_topologies: list[TopologyTerm] | None = None


class AttachLimit(Struct):
    count: int | None = None


class CSIDriver(Struct):
    name: str
    allocatable: AttachLimit | None = None


class CSINodeSpec(Struct):
    drivers: list[CSIDriver] | None = None


class CSINode(Struct):
    metadata: Metadata
    spec: CSINodeSpec = msgspec.field(default_factory=CSINodeSpec)


class BudgetSpec(Struct):
    selector: LabelSelector | None = None
    unhealthy_pod_eviction_policy: str | None = None


class BudgetStatus(Struct):
    disruptions_allowed: int = 0


class Budget(Struct):
    metadata: Metadata
    spec: BudgetSpec = msgspec.field(default_factory=BudgetSpec)
    status: BudgetStatus = msgspec.field(default_factory=BudgetStatus)
