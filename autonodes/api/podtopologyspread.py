"""The topology spread of pods that have no constraints of their own, as kube-scheduler's configuration has it.

``PodTopologySpreadArgs`` of ``kubescheduler.config.k8s.io/v1``, with its names and rules. Of a constraint
``labelSelector`` and ``matchLabelKeys`` are missing: whom it counts follows from the Services, ReplicaSets,
StatefulSets and ReplicationControllers that a pod belongs to.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from autonodes.api.objects import QUALIFIED_NAME, Int32, Model, fault
from autonodes.core.defaultspread import unselected
from autonodes.core.podterms import Spread

InclusionPolicy = Literal["Honor", "Ignore"]


class DefaultConstraint(Model):
    max_skew: Annotated[Int32, Field(ge=1)]
    """By how many pods one domain may have more than another."""
    topology_key: str = Field(max_length=316, pattern=QUALIFIED_NAME)
    """The node label of which each value is a domain."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """Whether a pod rather waits than breaks it."""
    min_domains: Annotated[Int32, Field(ge=1)] | None = None
    """With fewer domains than that the fewest pods count as 0; with DoNotSchedule only."""
    node_affinity_policy: InclusionPolicy | None = None
    """Whether only nodes count that the pod's own node affinity lets in; Honor without it."""
    node_taints_policy: InclusionPolicy | None = None
    """Whether only nodes count whose taints the pod tolerates; Ignore without it."""

    @model_validator(mode="after")
    def _min_domains_must_be_kept(self) -> Self:
        if self.min_domains is not None and self.when_unsatisfiable != "DoNotSchedule":
            raise fault("it is for whenUnsatisfiable: DoNotSchedule only", at="minDomains")
        return self

    def to_model(self) -> Spread:
        """A constraint that selects no pod yet."""
        return unselected(
            self.topology_key,
            max_skew=self.max_skew,
            min_domains=self.min_domains or 1,
            hard=self.when_unsatisfiable == "DoNotSchedule",
            honor_affinity=self.node_affinity_policy != "Ignore",
            honor_taints=self.node_taints_policy == "Honor",
        )


class PodTopologySpread(Model):
    defaulting_type: Literal["System", "List"] = "System"
    """System: kube-scheduler prefers an even spread over the nodes that are there; List: the constraints below."""
    default_constraints: tuple[DefaultConstraint, ...] = ()
    """For pods without constraints of their own that a Service, ReplicaSet, StatefulSet or ReplicationController
    selects; as if they stood in those pods."""

    @model_validator(mode="after")
    def _fits_the_type(self) -> Self:
        if self.default_constraints and self.defaulting_type != "List":
            raise fault("write List: with System the constraints would not hold", at="defaultingType")
        seen: set[tuple[str, str]] = set()
        for each in self.default_constraints:
            kind = (each.topology_key, each.when_unsatisfiable)
            if kind in seen:
                raise fault(f"two have {each.when_unsatisfiable} for {each.topology_key}", at="defaultConstraints")
            seen.add(kind)
        return self

    def to_model(self) -> tuple[Spread, ...]:
        """What the planner keeps. Nothing with System, whose constraints are wishes about single pods, which
        kube-scheduler weighs when it chooses among the nodes that there are."""
        return tuple(each.to_model() for each in self.default_constraints)
