"""``karpenter.sh/v1`` NodeClaim: the intent to have one node, written before anything is bought.

Its spec never changes. Its status goes through Launched, Registered and Initialized, which add up to Ready.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from autonodes.api import columns
from autonodes.api.columns import column
from autonodes.api.conditions import Conditions, is_true
from autonodes.api.objects import (
    CustomResource,
    Duration,
    Model,
    NillableDuration,
    ObjectMeta,
    Quantity,
    Time,
    cel,
    seconds,
    timestamp,
)
from autonodes.api.scheduling import (
    ATOMIC,
    MAX_REQUIREMENTS,
    NodeClassReference,
    NodeSelectorRequirement,
    Taint,
    to_requirements,
)
from autonodes.core import labels, lifecycle, model
from autonodes.core.quantities import parse_resources

LAUNCHED: Final = "Launched"
REGISTERED: Final = "Registered"
INITIALIZED: Final = "Initialized"
CONSOLIDATABLE: Final = "Consolidatable"
DRIFTED: Final = "Drifted"
DRAINED: Final = "Drained"
VOLUMES_DETACHED: Final = "VolumesDetached"
INSTANCE_TERMINATING: Final = "InstanceTerminating"
DISRUPTION_REASON: Final = "DisruptionReason"
READY_DEPENDENTS: Final = (LAUNCHED, REGISTERED, INITIALIZED)
"""The conditions that add up to a claim's ``Ready``."""

_NEVER_CHANGES: Final = "the spec of a NodeClaim can't change: delete it, and another one is made"


class ResourceRequirements(Model):
    requests: dict[str, Quantity] = Field(default_factory=dict)
    """What the machine must at least have to allocate: the pods it is bought for, and the node's daemons."""


class NodeClaimSpec(Model):
    model_config = ConfigDict(json_schema_extra=cel(("self == oldSelf", _NEVER_CHANGES)))

    taints: tuple[Taint, ...] = Field(default=(), json_schema_extra=ATOMIC)
    """Taints that the node keeps."""
    startup_taints: tuple[Taint, ...] = Field(default=(), json_schema_extra=ATOMIC)
    """Taints that the node is born with and that must be gone before it counts as initialized."""
    requirements: tuple[NodeSelectorRequirement, ...] = Field(max_length=MAX_REQUIREMENTS, json_schema_extra=ATOMIC)
    """Which machines will do, by the labels that the node is going to have."""
    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    """What the machine must offer."""
    node_class_ref: NodeClassReference
    """The node class that describes the machine."""
    termination_grace_period: Duration | None = None
    """How long the node's drain may take before pods are deleted whatever holds them."""
    expire_after: NillableDuration = "720h"
    """The node is drained and given back when it is older than this; Never switches that off."""


class NodeClaimStatus(Model):
    node_name: str = ""
    """The Node that the machine became."""
    provider_id: str = Field(default="", alias="providerID")
    """The machine, as in the Node's spec.providerID."""
    image_id: str = Field(default="", alias="imageID")
    """The image that the machine runs."""
    capacity: dict[str, Quantity] = Field(default_factory=dict)
    """All that the machine has: an estimate until the node has registered."""
    allocatable: dict[str, Quantity] = Field(default_factory=dict)
    """What it has for pods: an estimate until the node has registered."""
    conditions: Conditions = ()
    """Launched, Registered, Initialized and Ready; Consolidatable, Drifted; Drained, VolumesDetached and
    InstanceTerminating on the way out."""
    last_pod_event_time: Time | None = None
    """When a pod last came to the node, or left or finished on it."""


class NodeClaim(CustomResource):
    """One node that is wanted, coming, there, or going."""

    plural: ClassVar = "nodeclaims"
    categories: ClassVar = ("karpenter",)
    columns: ClassVar = (
        column("Type", r".metadata.labels.node\.kubernetes\.io/instance-type"),
        column("Capacity", r".metadata.labels.karpenter\.sh/capacity-type"),
        column("Zone", r".metadata.labels.topology\.kubernetes\.io/zone"),
        column("Node", ".status.nodeName"),
        columns.READY,
        columns.AGE,
        column("ImageID", ".status.imageID", wide=True),
        column("ID", ".status.providerID", wide=True),
        column("NodePool", r".metadata.labels.karpenter\.sh/nodepool", wide=True),
        column("NodeClass", ".spec.nodeClassRef.name", wide=True),
        column("Drifted", '.status.conditions[?(@.type=="Drifted")].status', wide=True),
    )

    api_version: Literal["karpenter.sh/v1"] = "karpenter.sh/v1"
    kind: Literal["NodeClaim"] = "NodeClaim"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: NodeClaimSpec
    status: NodeClaimStatus = Field(default_factory=NodeClaimStatus)

    @property
    def pool(self) -> str:
        """Name of its NodePool, "" for a claim that somebody wrote by hand."""
        return self.metadata.labels.get(labels.NODE_POOL, "")

    def condition(self, type_: str) -> bool:
        """Whether the condition is True."""
        return is_true(self.status.conditions, type_)

    @property
    def true_conditions(self) -> frozenset[str]:
        """The types of its conditions that are True."""
        return frozenset(condition.type for condition in self.status.conditions if condition.status == "True")

    @property
    def phase(self) -> lifecycle.Phase:
        """Where it is in its life, as its conditions say."""
        return lifecycle.phase(self.true_conditions, deleting=self.metadata.deletion_timestamp is not None)

    def to_model(self) -> model.Claim:
        """For the planner.

        :raises ConfigError: it passes the schema and still means nothing; the path says where
        """
        return model.Claim(
            name=self.name,
            uid=self.metadata.uid,
            pool=self.pool,
            requirements=to_requirements(self.spec.requirements, fixed=self.metadata.labels, path="spec.requirements"),
            labels=self.metadata.labels,
            annotations=self.metadata.annotations,
            taints=tuple(taint.to_model() for taint in self.spec.taints),
            startup_taints=tuple(taint.to_model() for taint in self.spec.startup_taints),
            requests=parse_resources(self.spec.resources.requests, path="spec.resources.requests"),
            capacity=parse_resources(self.status.capacity, path="status.capacity", capacity=True),
            allocatable=parse_resources(self.status.allocatable, path="status.allocatable", capacity=True),
            provider_id=self.status.provider_id,
            node_name=self.status.node_name,
            termination_grace_period=seconds(self.spec.termination_grace_period, path="spec.terminationGracePeriod"),
            **self._progress(),
        )

    def _progress(self) -> dict[str, Any]:
        return {
            "launched": self.condition(LAUNCHED),
            "registered": self.condition(REGISTERED),
            "initialized": self.condition(INITIALIZED),
            "created_at": timestamp(self.metadata.creation_timestamp) or 0.0,
            "deleted_at": timestamp(self.metadata.deletion_timestamp),
        }
