"""``karpenter.sh/v1`` NodePool: what nodes may be bought, how many, and when they may be given back."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from autonodes.api import columns
from autonodes.api.columns import column
from autonodes.api.conditions import READY, CompleteConditions, is_true
from autonodes.api.objects import (
    BUDGET_DURATION,
    BUDGET_NODES,
    BUDGET_SCHEDULE,
    CustomResource,
    Duration,
    Int32,
    Int64,
    LabelValue,
    Model,
    NillableDuration,
    ObjectMeta,
    Quantity,
    cel,
    fault,
    seconds,
)
from autonodes.api.scheduling import (
    ATOMIC,
    DOMAIN_MESSAGE,
    DOMAIN_RULE,
    HOSTNAME_MESSAGE,
    MAX_REQUIREMENTS,
    NODE_POOL_MESSAGE,
    NodeClassReference,
    PoolRequirement,
    Taint,
    restriction,
    to_requirements,
)
from autonodes.core import labels, model
from autonodes.core.cron import Schedule
from autonodes.core.errors import ConfigError, ScheduleError
from autonodes.core.money import annotated_limit
from autonodes.core.quantities import parse_resources

HASH_VERSION: Final = "autonodes.io/v1"
"""Goes up when the fields in the hash, or their defaults, change: hashes of another version are not compared."""

VALIDATION_SUCCEEDED: Final = "ValidationSucceeded"
NODE_CLASS_READY: Final = "NodeClassReady"
NODE_REGISTRATION_HEALTHY: Final = "NodeRegistrationHealthy"
NODES_USABLE: Final = "NodesUsable"
READY_DEPENDENTS: Final = (VALIDATION_SUCCEEDED, NODE_CLASS_READY)
"""The conditions that add up to a pool's ``Ready``."""

MOST_PLANNING: Final = 60
"""Seconds that a pool may let a plan take: pods wait for it."""

DisruptionReason = Literal["Underutilized", "Empty", "Drifted"]
ConsolidationPolicy = Literal["WhenEmpty", "WhenEmptyOrUnderutilized", "Balanced"]

_STATIC_LIMITS: Final = "a static NodePool (with replicas) can have no limit but nodes"
_STATIC_WEIGHT: Final = "a static NodePool (with replicas) can have no weight"
_TOGETHER: Final = "schedule and duration go together: give both or neither"


def _labels(value: dict[str, str]) -> dict[str, str]:
    for key in value:
        reason = NODE_POOL_MESSAGE if key == labels.NODE_POOL else restriction(key)
        if reason:
            raise fault(reason, at=key)
    return value


class TemplateMetadata(Model):
    labels: Annotated[dict[str, LabelValue], AfterValidator(_labels)] = Field(
        default_factory=dict,
        max_length=100,
        json_schema_extra={
            "x-kubernetes-map-type": "atomic",
            **cel(
                (f"self.all(x, {DOMAIN_RULE})", DOMAIN_MESSAGE),
                (f"self.all(x, x != '{labels.NODE_POOL}')", NODE_POOL_MESSAGE),
                (f"self.all(x, x != '{labels.HOSTNAME}')", HOSTNAME_MESSAGE),
            ),
        },
    )
    """Labels of every node of the pool."""
    annotations: dict[str, str] = Field(default_factory=dict, json_schema_extra={"x-kubernetes-map-type": "granular"})
    """Annotations of every node of the pool."""


class NodeClaimTemplateSpec(Model):
    taints: tuple[Taint, ...] = Field(default=(), json_schema_extra=ATOMIC)
    """Taints that the nodes keep."""
    startup_taints: tuple[Taint, ...] = Field(default=(), json_schema_extra=ATOMIC)
    """Taints that a node is born with and that something (a DaemonSet, say) takes off when it has done its part. Pods
    need not tolerate them for a node to be bought."""
    requirements: tuple[PoolRequirement, ...] = Field(max_length=MAX_REQUIREMENTS, json_schema_extra=ATOMIC)
    """Which machines will do, by their labels: type, zone, capacity type, architecture, or labels of your own."""
    node_class_ref: NodeClassReference = Field(
        json_schema_extra=cel(
            ("self.group == oldSelf.group", "the group can't change: make another NodePool"),
            ("self.kind == oldSelf.kind", "the kind can't change: make another NodePool"),
        )
    )
    """The node class that describes the machines."""
    termination_grace_period: Duration | None = None
    """How long a node's drain may take. Past it pods are deleted even if a PodDisruptionBudget or
    karpenter.sh/do-not-disrupt holds them; each is told its own grace period before that. Without it a drain may wait
    for ever."""
    expire_after: NillableDuration = "720h"
    """A node older than this is drained and given back, whatever runs on it; Never switches that off."""


class NodeClaimTemplate(Model):
    metadata: TemplateMetadata = Field(default_factory=TemplateMetadata)
    spec: NodeClaimTemplateSpec


class Budget(Model):
    """How many nodes of the pool may be on their way out at one time."""

    model_config = ConfigDict(json_schema_extra={"required": ["nodes"]})

    reasons: tuple[DisruptionReason, ...] | None = Field(
        default=None, max_length=50, json_schema_extra={"x-kubernetes-list-type": "set"}
    )
    """The reasons for disruption that this budget holds for; all of them if none is given."""
    nodes: str = Field(default="10%", pattern=BUDGET_NODES)
    """A number of nodes, or a percentage of the pool's, rounded up."""
    schedule: str | None = Field(default=None, pattern=BUDGET_SCHEDULE)
    """When the budget becomes active: five cron fields, or @daily and the like, in UTC. Always active without it."""
    duration: Annotated[str, Field(pattern=BUDGET_DURATION)] | None = None
    """For how long it then stays active, in hours and minutes."""

    @model_validator(mode="after")
    def _schedule_is_complete(self) -> Self:
        if (self.schedule is None) != (self.duration is None):
            raise fault(_TOGETHER, at="duration" if self.schedule else "schedule")
        if self.schedule is not None:
            try:
                Schedule.parse(self.schedule)
            except ScheduleError as error:
                raise fault(error.remedy, at="schedule") from None
        return self

    def to_model(self) -> model.Budget:
        """For decisions.

        :raises ConfigError: a duration that means nothing
        """
        return model.Budget(
            nodes=self.nodes,
            schedule=self.schedule or "",
            duration=seconds(self.duration, path="spec.disruption.budgets[].duration"),
            reasons=tuple(self.reasons or ()),
        )


class Disruption(Model):
    """When nodes may be replaced or given back."""

    consolidate_after: NillableDuration
    """How long a node must be left alone by pods before it counts as idle or badly used."""
    consolidation_policy: ConsolidationPolicy = "WhenEmptyOrUnderutilized"
    """Which nodes consolidation may touch: empty ones, also badly used ones, or those whose savings outweigh the
    disruption."""
    budgets: tuple[Budget, ...] = Field(
        default=(Budget(nodes="10%"),),
        max_length=50,
        json_schema_extra={
            **ATOMIC,
            **cel(("self.all(x, has(x.schedule) == has(x.duration))", _TOGETHER)),
            "default": [{"nodes": "10%"}],
        },
    )
    """Limits on how many nodes go at once; the tightest of those that are active holds."""


_SPEC_RULES: Final = (
    (
        "has(self.replicas) == has(oldSelf.replicas)",
        "a NodePool stays static (with replicas) or dynamic (without): make another one",
    ),
    (
        "!has(self.replicas) || !has(self.limits) || size(self.limits) == 0"
        " || (size(self.limits) == 1 && 'nodes' in self.limits)",
        _STATIC_LIMITS,
        ".limits",
    ),
    ("!has(self.replicas) || !has(self.weight)", _STATIC_WEIGHT, ".weight"),
)


class NodePoolSpec(Model):
    model_config = ConfigDict(json_schema_extra=cel(*_SPEC_RULES))

    template: NodeClaimTemplate
    """What every NodeClaim of the pool starts from; pods narrow it further."""
    disruption: Disruption = Field(
        default=Disruption(consolidate_after="0s"), json_schema_extra={"default": {"consolidateAfter": "0s"}}
    )
    """When its nodes may be replaced or given back."""
    limits: dict[str, Quantity] = Field(default_factory=dict)
    """No more is bought than this, over all nodes of the pool; "nodes" counts the nodes themselves."""
    weight: Annotated[Int32, Field(ge=1, le=100)] | None = None
    """Pools of a higher weight are asked first; none counts as 0."""
    replicas: Annotated[Int64, Field(ge=0)] | None = None
    """A fixed number of nodes, kept whether or not pods need them."""

    @model_validator(mode="after")
    def _static_pools_are_simple(self) -> Self:
        if self.replicas is None:
            return self
        if set(self.limits) - {"nodes"}:
            raise fault(_STATIC_LIMITS, at="limits")
        if self.weight is not None:
            raise fault(_STATIC_WEIGHT, at="weight")
        return self


class NodePoolStatus(Model):
    resources: dict[str, Quantity] = Field(default_factory=dict)
    """What the pool's nodes have together."""
    nodes: Int64 = 0
    """How many nodes the pool has."""
    node_class_observed_generation: Int64 | None = None
    """The generation of the node class that the registration health was seen with; another one starts it afresh."""
    conditions: CompleteConditions = ()
    """ValidationSucceeded, NodeClassReady, NodeRegistrationHealthy, and Ready as their sum."""


class NodePool(CustomResource):
    """A kind of nodes that the controller may buy for pods that wait."""

    plural: ClassVar = "nodepools"
    categories: ClassVar = ("karpenter",)
    columns: ClassVar = (
        column("NodeClass", ".spec.template.spec.nodeClassRef.name"),
        column("Nodes", ".status.nodes"),
        columns.READY,
        columns.AGE,
        column("Weight", ".spec.weight", "integer", wide=True),
        column("CPU", ".status.resources.cpu", wide=True),
        column("Memory", ".status.resources.memory", wide=True),
    )
    scale: ClassVar = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.nodes"}

    api_version: Literal["karpenter.sh/v1"] = "karpenter.sh/v1"
    kind: Literal["NodePool"] = "NodePool"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: NodePoolSpec
    status: NodePoolStatus = Field(default_factory=NodePoolStatus)

    def hash(self) -> str:
        """Of the template's static fields: labels, annotations, taints, startup taints, node class reference,
        expiry and termination grace period. A claim that carries another hash of the same version has drifted.

        Requirements are not in it (drift compares a node's labels with them), nor is the order of lists, nor a
        notation: ``60m`` hashes like ``1h``.
        """
        text = json.dumps(self._static_fields(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def node_labels(self) -> dict[str, str]:
        """What every node of the pool carries: the template's labels, the pool and its node class."""
        reference = self.spec.template.spec.node_class_ref
        return {
            **self.spec.template.metadata.labels,
            labels.NODE_POOL: self.name,
            f"{reference.group}/{reference.kind.lower()}": reference.name,
        }

    def _buys_for_pods(self) -> bool:
        """A static pool has its number of nodes, whatever pods need."""
        going = self.metadata.deletion_timestamp is not None or self.spec.replicas is not None
        return is_true(self.status.conditions, READY) and not going

    def _planning_deadline(self) -> float:
        text = self.metadata.annotations.get(labels.PLANNING_DEADLINE, "0s")
        path = f"metadata.annotations[{labels.PLANNING_DEADLINE}]"
        deadline = seconds(text, path=path)
        if deadline is None or not 0 <= deadline <= MOST_PLANNING:
            raise ConfigError(path, text, f"write a duration of at most {MOST_PLANNING} seconds, such as 5s")
        return deadline

    def _static_fields(self) -> dict[str, Any]:
        template = self.spec.template
        fields = {
            "labels": template.metadata.labels,
            "annotations": template.metadata.annotations,
            "taints": _canonical(template.spec.taints),
            "startupTaints": _canonical(template.spec.startup_taints),
            "nodeClassRef": template.spec.node_class_ref.to_model(),
            "expireAfter": seconds(template.spec.expire_after, path="expireAfter"),
            "terminationGracePeriod": seconds(template.spec.termination_grace_period, path="terminationGracePeriod"),
        }
        return {name: value for name, value in fields.items() if value}

    def to_model(self) -> model.NodePool:
        """For the planner.

        :raises ConfigError: it passes the schema and still means nothing; the path says where
        """
        spec, template = self.spec, self.spec.template
        path = "spec.template.spec"
        return model.NodePool(
            name=self.name,
            uid=self.metadata.uid,
            weight=spec.weight or 0,
            requirements=to_requirements(
                template.spec.requirements, fixed=self.node_labels, path=f"{path}.requirements"
            ),
            labels=self.node_labels,
            annotations=template.metadata.annotations,
            taints=tuple(taint.to_model() for taint in template.spec.taints),
            startup_taints=tuple(taint.to_model() for taint in template.spec.startup_taints),
            planning_deadline=self._planning_deadline(),
            limits={
                **parse_resources(spec.limits, path="spec.limits", capacity=True),
                **annotated_limit(self.metadata.annotations),
            },
            node_class=template.spec.node_class_ref.to_model(),
            hash=self.hash(),
            ready=self._buys_for_pods(),
            consolidation_policy=spec.disruption.consolidation_policy,
            consolidate_after=seconds(spec.disruption.consolidate_after, path="spec.disruption.consolidateAfter"),
            budgets=tuple(budget.to_model() for budget in spec.disruption.budgets),
            expire_after=seconds(template.spec.expire_after, path=f"{path}.expireAfter"),
            termination_grace_period=seconds(
                template.spec.termination_grace_period, path=f"{path}.terminationGracePeriod"
            ),
        )


def _canonical(taints: tuple[Taint, ...]) -> list[tuple[str, str, str]]:
    return sorted({(taint.key, taint.value or "", taint.effect) for taint in taints})
