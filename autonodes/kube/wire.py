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


_SCHEDULING = {
    "required": "requiredDuringSchedulingIgnoredDuringExecution",
    "preferred": "preferredDuringSchedulingIgnoredDuringExecution",
}


class PreferredNodeTerm(Struct):
    weight: int
    preference: NodeSelectorTerm


class NodeAffinity(Struct, rename=_SCHEDULING):
    required: NodeSelector | None = None
    preferred: list[PreferredNodeTerm] | None = None


class LabelSelector(Struct):
    match_labels: dict[str, str] | None = None
    match_expressions: list[Expression] | None = None


class PodAffinityTerm(Struct):
    topology_key: str = ""
    label_selector: LabelSelector | None = None
    namespaces: list[str] | None = None
    namespace_selector: LabelSelector | None = None
    match_label_keys: list[str] | None = None
    mismatch_label_keys: list[str] | None = None


class PreferredPodTerm(Struct):
    weight: int
    pod_affinity_term: PodAffinityTerm


class PodAffinity(Struct, rename=_SCHEDULING):
    required: list[PodAffinityTerm] | None = None
    preferred: list[PreferredPodTerm] | None = None


class Affinity(Struct):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class TopologySpreadConstraint(Struct):
    topology_key: str = ""
    max_skew: int = 1
    when_unsatisfiable: str = "DoNotSchedule"
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    match_label_keys: list[str] | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None


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


class PodResourceClaim(Struct):
    """Also of a pod's status, where it names what was made from the template."""

    name: str
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class SchedulingGroup(Struct):
    pod_group_name: str | None = None


class PodSpec(Struct):
    containers: list[Container]
    resource_claims: list[PodResourceClaim] | None = None
    scheduling_group: SchedulingGroup | None = None
    volumes: list[PodVolume] | None = None
    init_containers: list[Container] | None = None
    resources: ResourceRequirements | None = None
    overhead: Quantities | None = None
    node_name: str = ""
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    topology_spread_constraints: list[TopologySpreadConstraint] | None = None
    tolerations: list[Toleration] | None = None
    priority: int | None = None
    host_network: bool = False
    termination_grace_period_seconds: float | None = None
    scheduling_gates: list[SchedulingGate] | None = None


class DeviceSelectorText(Struct):
    expression: str


class DeviceSelector(Struct):
    cel: DeviceSelectorText | None = None


class ExactDeviceRequest(Struct):
    device_class_name: str
    selectors: list[DeviceSelector] | None = None
    allocation_mode: str = ""
    count: int = 1
    admin_access: bool | None = None
    capacity: dict[str, msgspec.Raw] | None = None
    derived_attributes: list[msgspec.Raw] | None = None


class DeviceRequest(Struct):
    name: str
    exactly: ExactDeviceRequest | None = None


class DeviceClaim(Struct):
    requests: list[DeviceRequest] | None = None
    constraints: list[msgspec.Raw] | None = None


class ResourceClaimSpec(Struct):
    devices: DeviceClaim = msgspec.field(default_factory=DeviceClaim)


class AllocatedDevice(Struct):
    driver: str
    pool: str
    device: str
    admin_access: bool | None = None


class AllocatedDevices(Struct):
    results: list[AllocatedDevice] | None = None


class Allocation(Struct):
    devices: AllocatedDevices = msgspec.field(default_factory=AllocatedDevices)
    node_selector: NodeSelector | None = None


class ResourceClaimStatus(Struct):
    allocation: Allocation | None = None


class ResourceClaim(Struct):
    metadata: Metadata
    spec: ResourceClaimSpec = msgspec.field(default_factory=ResourceClaimSpec)
    status: ResourceClaimStatus = msgspec.field(default_factory=ResourceClaimStatus)


class DeviceClassSpec(Struct):
    selectors: list[DeviceSelector] | None = None


class DeviceClass(Struct):
    metadata: Metadata
    spec: DeviceClassSpec = msgspec.field(default_factory=DeviceClassSpec)


class DeviceAttribute(Struct, rename={"int_": "int", "bool_": "bool"}):
    string: str | None = None
    int_: int | None = None
    bool_: bool | None = None
    version: str | None = None
    strings: list[str] | None = None
    ints: list[int] | None = None
    bools: list[bool] | None = None
    versions: list[str] | None = None


class DeviceCapacity(Struct):
    value: str | int | float


class DeviceTaint(Struct):
    key: str
    effect: str


class Device(Struct):
    name: str
    attributes: dict[str, DeviceAttribute] | None = None
    capacity: dict[str, DeviceCapacity] | None = None
    consumes_counters: list[msgspec.Raw] | None = None
    allow_multiple_allocations: bool | None = None
    taints: list[DeviceTaint] | None = None
    binding_conditions: list[str] | None = None


class ResourcePool(Struct):
    name: str
    generation: int = 0


class ResourceSliceSpec(Struct):
    driver: str
    pool: ResourcePool
    node_name: str = ""
    devices: list[Device] | None = None


class ResourceSlice(Struct):
    metadata: Metadata
    spec: ResourceSliceSpec


class GangPolicy(Struct):
    min_count: int


class PodGroupPolicy(Struct):
    gang: GangPolicy | None = None


class TopologyConstraint(Struct):
    key: str


class PodGroupConstraints(Struct):
    topology: list[TopologyConstraint] | None = None


class PodGroupSpec(Struct):
    scheduling_policy: PodGroupPolicy = msgspec.field(default_factory=PodGroupPolicy)
    scheduling_constraints: PodGroupConstraints | None = None


class PodGroup(Struct):
    metadata: Metadata
    spec: PodGroupSpec


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
    resource_claim_statuses: list[PodResourceClaim] | None = None
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


class NodeCondition(Condition):
    last_transition_time: datetime | None = None


class NodeStatus(Struct):
    capacity: Quantities | None = None
    allocatable: Quantities | None = None
    conditions: list[NodeCondition] | None = None
    addresses: list[NodeAddress] | None = None


class Node(Struct):
    metadata: Metadata
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


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


class Namespace(Struct):
    metadata: Metadata


class LabelledSpec(Struct):
    selector: dict[str, str] | None = None


class SelectingByLabels(Struct):
    """A Service or a ReplicationController."""

    metadata: Metadata
    spec: LabelledSpec = msgspec.field(default_factory=LabelledSpec)


class SelectingSpec(Struct):
    selector: LabelSelector | None = None


class Selecting(Struct):
    """A ReplicaSet or a StatefulSet."""

    metadata: Metadata
    spec: SelectingSpec = msgspec.field(default_factory=SelectingSpec)


class BudgetSpec(Struct):
    selector: LabelSelector | None = None
    unhealthy_pod_eviction_policy: str | None = None


class BudgetStatus(Struct):
    disruptions_allowed: int = 0


class Budget(Struct):
    metadata: Metadata
    spec: BudgetSpec = msgspec.field(default_factory=BudgetSpec)
    status: BudgetStatus = msgspec.field(default_factory=BudgetStatus)
