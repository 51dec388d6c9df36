"""From an object's JSON to the values of `autonodes.core.model`.

Each function takes the JSON of one object and returns one immutable value, or raises when the object can't be read:
``msgspec.ValidationError`` for a field of the wrong type, ``ConfigError`` for a quantity or an expression that can't
be.

Equal parts are shared (`autonodes.kube.interning`): a pod of a Deployment costs little more than its name and uid. Of
annotations only those that mean something to this project are kept.

Limits: a DaemonSet's pod is taken from its template, so what admission adds to the real pod (LimitRange defaults, a
RuntimeClass's overhead) is not in it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from autonodes.core.errors import ConfigError
from autonodes.core.model import DaemonSet, HostPort, Node, NodeCondition, Pod, PodUID, Resources, Taint, Toleration
from autonodes.core.podbudgets import DisruptionBudget
from autonodes.core.podrequests import Container, pod_requests
from autonodes.core.quantities import parse_resources
from autonodes.core.requirements import Requirements, contradiction, required_terms
from autonodes.core.resources import greatest
from autonodes.core.storage import PodVolume
from autonodes.kube import wire
from autonodes.kube.interning import Interner
from autonodes.kube.podterms import NO_TERMS, PodTerms, label_selector, pod_terms

T = TypeVar("T")

_KEPT_ANNOTATIONS: Final = (
    "karpenter.sh/",
    "autonodes.io/",
    "cluster-autoscaler.kubernetes.io/",
    "autoscaling.x-k8s.io/",
    "controller.kubernetes.io/pod-deletion-cost",
    "kubernetes.io/config.mirror",
)
_DEFAULT_GRACE_PERIOD: Final = 30.0
"""Seconds; the API server's default for ``terminationGracePeriodSeconds``."""

# What the DaemonSet controller adds to its pods:
# https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#taints-and-tolerations
_DAEMON_TOLERATIONS: Final = (
    Toleration("node.kubernetes.io/not-ready", "Exists", "", "NoExecute"),
    Toleration("node.kubernetes.io/unreachable", "Exists", "", "NoExecute"),
    Toleration("node.kubernetes.io/disk-pressure", "Exists", "", "NoSchedule"),
    Toleration("node.kubernetes.io/memory-pressure", "Exists", "", "NoSchedule"),
    Toleration("node.kubernetes.io/pid-pressure", "Exists", "", "NoSchedule"),
    Toleration("node.kubernetes.io/unschedulable", "Exists", "", "NoSchedule"),
)
_DAEMON_HOST_NETWORK_TOLERATION: Final = Toleration(
    "node.kubernetes.io/network-unavailable", "Exists", "", "NoSchedule"
)

_shared = Interner()
_pod = msgspec.json.Decoder(wire.Pod).decode
_node = msgspec.json.Decoder(wire.Node).decode
_daemonset = msgspec.json.Decoder(wire.DaemonSet).decode
_budget = msgspec.json.Decoder(wire.Budget).decode
_namespace = msgspec.json.Decoder(wire.Namespace).decode


def decode_pod(raw: bytes) -> Pod:
    """A pod, bound or not. One whose affinity can't be read still counts where it runs, and has a ``fault``."""
    read = _pod(raw)
    metadata, spec, status = read.metadata, read.spec, read.status
    owner = _controller(metadata)
    is_bound_daemon = owner is not None and owner.kind == "DaemonSet" and spec.node_name
    # each daemon names its own node, and nobody places it again: thousands of terms for nothing
    terms, others, fault = ((), NO_TERMS, "") if is_bound_daemon else _readable_terms(metadata, spec)
    return Pod(
        uid=PodUID(metadata.uid),
        namespace=sys.intern(metadata.namespace),
        name=metadata.name,
        requests=_requests(spec, status),
        required_terms=terms,
        tolerations=_tolerations(spec),
        host_ports=_host_ports(spec),
        spread=others.spread,
        near=others.near,
        apart=others.apart,
        preferences=others.preferences,
        volumes=_volumes(metadata, spec),
        labels=_shared.strings(metadata.labels),
        annotations=_annotations(metadata),
        priority=spec.priority or 0,
        owner_kind=sys.intern(owner.kind) if owner else "",
        owner_uid=sys.intern(owner.uid) if owner else "",
        node_name=sys.intern(spec.node_name),
        nominated_node=sys.intern(status.nominated_node_name),
        group=sys.intern((spec.scheduling_group and spec.scheduling_group.pod_group_name) or ""),
        resource_claims=_resource_claims(spec, status),
        phase=sys.intern(status.phase),
        ready=_holds(status.conditions, "Ready"),
        unschedulable=_is_unschedulable(status.conditions, grouped=spec.scheduling_group is not None),
        gated=bool(spec.scheduling_gates),
        fault=fault,
        started_at=_seconds(status.start_time),
        created_at=_seconds(metadata.creation_timestamp) or 0.0,
        deleted_at=_seconds(metadata.deletion_timestamp),
        grace_period=_grace_period(spec),
    )


def decode_node(raw: bytes) -> Node:
    """A node. ``addresses`` are its IP addresses, internal and external, in the order of its status."""
    read = _node(raw)
    metadata, spec, status = read.metadata, read.spec, read.status
    created = _seconds(metadata.creation_timestamp) or 0.0
    return Node(
        name=sys.intern(metadata.name),
        uid=metadata.uid,
        provider_id=spec.provider_id,
        labels=_interned(metadata.labels),
        annotations=_interned(_filtered(metadata.annotations)),
        taints=_shared.value(
            tuple(Taint(sys.intern(taint.key), taint.value, sys.intern(taint.effect)) for taint in spec.taints or ())
        ),
        capacity=_amounts(status.capacity, "status.capacity"),
        allocatable=_amounts(status.allocatable, "status.allocatable"),
        conditions=_conditions(status.conditions, created),
        ready=_holds(status.conditions, "Ready"),
        unschedulable=spec.unschedulable,
        addresses=tuple(each.address for each in status.addresses or () if each.type in ("InternalIP", "ExternalIP")),
        created_at=created,
        deleted_at=_seconds(metadata.deletion_timestamp),
    )


def _conditions(given: list[wire.NodeCondition] | None, created: float) -> tuple[NodeCondition, ...]:
    """One whose time is missing counts from the node's creation."""
    return tuple(
        NodeCondition(sys.intern(each.type), sys.intern(each.status), _seconds(each.last_transition_time) or created)
        for each in given or ()
    )


def decode_daemonset(raw: bytes) -> DaemonSet:
    """A DaemonSet with the pod that it would put on a node, the controller's tolerations included."""
    read = _daemonset(raw)
    metadata, template = read.metadata, read.spec.template
    spec = template.spec
    added = _DAEMON_TOLERATIONS + ((_DAEMON_HOST_NETWORK_TOLERATION,) if spec.host_network else ())
    pod = Pod(
        uid=PodUID(metadata.uid),
        namespace=sys.intern(metadata.namespace),
        name=metadata.name,
        requests=_requests(spec, wire.PodStatus()),
        required_terms=_required_terms(spec),
        tolerations=_shared.value(_tolerations(spec) + added),
        host_ports=_host_ports(spec),
        labels=_shared.strings(template.metadata.labels),
        annotations=_annotations(template.metadata),
        priority=spec.priority or 0,
        owner_kind="DaemonSet",
        owner_uid=metadata.uid,
        created_at=_seconds(metadata.creation_timestamp) or 0.0,
        grace_period=_grace_period(spec),
    )
    return DaemonSet(namespace=pod.namespace, name=metadata.name, pod=pod)


def decode_budget(raw: bytes) -> DisruptionBudget:
    """A PodDisruptionBudget."""
    read = _budget(raw)
    selector = read.spec.selector
    return DisruptionBudget(
        namespace=sys.intern(read.metadata.namespace),
        name=read.metadata.name,
        selector=None if selector is None else label_selector(selector, "spec.selector"),
        disruptions_allowed=read.status.disruptions_allowed,
        always_allows_unhealthy=read.spec.unhealthy_pod_eviction_policy == "AlwaysAllow",
    )


def decode_namespace(raw: bytes) -> Mapping[str, str]:
    """A Namespace: its labels, for the selectors of pod affinity."""
    return _namespace(raw).metadata.labels or {}


def _controller(metadata: wire.Metadata) -> wire.Owner | None:
    return next((owner for owner in metadata.owner_references or () if owner.controller), None)


def _holds(conditions: Iterable[wire.Condition] | None, kind: str) -> bool:
    return any(condition.type == kind and condition.status == "True" for condition in conditions or ())


def _resource_claims(spec: wire.PodSpec, status: wire.PodStatus) -> tuple[str, ...]:
    """A template for which nothing had to be made stands in the status without a name."""
    if not spec.resource_claims:
        return ()
    made = {each.name: each.resource_claim_name for each in status.resource_claim_statuses or ()}
    named = (
        each.resource_claim_name or made.get(each.name, f"{each.resource_claim_template_name}*")
        for each in spec.resource_claims
    )
    return tuple(name for name in named if name)


def _is_unschedulable(conditions: Iterable[wire.Condition] | None, *, grouped: bool) -> bool:
    """Whether kube-scheduler has tried in vain. Of a PodGroup's pods 1.37 says SchedulerError when there is no room:
    its plug-in for devices fails then ("DynamicResources" PodGroupPostFilter: not found)."""
    said = ("Unschedulable", "SchedulerError") if grouped else ("Unschedulable",)
    return any(
        condition.type == "PodScheduled" and condition.status == "False" and condition.reason in said
        for condition in conditions or ()
    )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _grace_period(spec: wire.PodSpec) -> float:
    given = spec.termination_grace_period_seconds
    return _DEFAULT_GRACE_PERIOD if given is None else given


def _filtered(annotations: Mapping[str, str] | None) -> Mapping[str, str]:
    return {key: value for key, value in (annotations or {}).items() if key.startswith(_KEPT_ANNOTATIONS)}


def _annotations(metadata: wire.Metadata) -> Mapping[str, str]:
    return _shared.strings(_filtered(metadata.annotations))


def _interned(values: Mapping[str, str] | None) -> Mapping[str, str]:
    """Strings shared, mapping not: no two nodes have the same labels."""
    return {sys.intern(key): sys.intern(value) for key, value in (values or {}).items()}


def _amounts(values: wire.Quantities | None, path: str) -> Resources:
    return _shared.numbers(parse_resources(values or {}, path=path, capacity=True))


def _tolerations(spec: wire.PodSpec) -> tuple[Toleration, ...]:
    return _shared.value(
        tuple(
            Toleration(each.key, each.operator or "Equal", each.value, each.effect) for each in spec.tolerations or ()
        )
    )


def _host_ports(spec: wire.PodSpec) -> tuple[HostPort, ...]:
    sidecars = (each for each in spec.init_containers or () if each.restart_policy == "Always")
    ports = tuple(
        HostPort(number, port.protocol, port.host_ip or "0.0.0.0")  # noqa: S104 -- the meaning of an empty hostIP
        for container in (*spec.containers, *sidecars)
        for port in container.ports or ()
        # a template's host network ports are not yet defaulted to the container's
        if (number := port.host_port or (port.container_port if spec.host_network else 0))
    )
    return _shared.value(ports)


def _volumes(metadata: wire.Metadata, spec: wire.PodSpec) -> tuple[PodVolume, ...]:
    """Those that a claim stands for; that of a generic ephemeral volume is named after pod and volume (KEP-1698)."""
    found = []
    for volume in spec.volumes or ():
        if volume.persistent_volume_claim is not None:
            found.append(PodVolume(volume.name, volume.persistent_volume_claim.claim_name))
        elif volume.ephemeral is not None:
            storage_class = volume.ephemeral.volume_claim_template.spec.storage_class_name
            found.append(PodVolume(volume.name, f"{metadata.name}-{volume.name}", True, storage_class))
    return _shared.value(tuple(found)) if found else ()


def _readable_terms(metadata: wire.Metadata, spec: wire.PodSpec) -> tuple[tuple[Requirements, ...], PodTerms, str]:
    """The terms that can be read, and what is wrong with the others: the API server takes ``Gt`` on a word and what
    contradicts itself, and nothing ever matches it."""
    terms: tuple[Requirements, ...] = ()
    others, faults = NO_TERMS, []
    try:
        terms = _required_terms(spec)
    except ConfigError as error:
        faults.append(str(error))
    try:
        others = pod_terms(spec, metadata.namespace, metadata.labels or {})
    except ConfigError as error:
        faults.append(str(error))
    return terms, others, "; ".join(faults)


def _required_terms(spec: wire.PodSpec) -> tuple[Requirements, ...]:
    selector = tuple(sorted((spec.node_selector or {}).items()))
    node_affinity = spec.affinity.node_affinity if spec.affinity else None
    required = node_affinity.required if node_affinity else None
    if required is None:
        return _terms(selector, None)
    return _terms(
        selector,
        tuple(
            (_expressions(term.match_expressions), _expressions(term.match_fields))
            for term in required.node_selector_terms
        ),
    )


_Expressions = tuple[tuple[str, str, tuple[str, ...]], ...]


def _expressions(listed: Sequence[wire.Expression] | None) -> _Expressions:
    return tuple((each.key, each.operator, tuple(each.values or ())) for each in listed or ())


@lru_cache(maxsize=4096)
def _terms(
    selector: tuple[tuple[str, str], ...], terms: tuple[tuple[_Expressions, _Expressions], ...] | None
) -> tuple[Requirements, ...]:
    found = required_terms(dict(selector), terms)
    if terms is not None and all(term.contradiction() for term in found):
        raise contradiction(dict(selector), terms)
    return found


def _requests(spec: wire.PodSpec, status: wire.PodStatus) -> Resources:
    total = pod_requests(
        _containers(spec.containers, status.container_statuses),
        _containers(spec.init_containers or (), status.init_container_statuses),
        pod_requests=_asked(spec.resources.requests if spec.resources else None),
        pod_limits=_asked(spec.resources.limits if spec.resources else None),
        overhead=_asked(spec.overhead),
    )
    return _shared.numbers(total)


def _asked(values: wire.Quantities | None) -> dict[str, int]:
    return parse_resources(values) if values else {}


def _containers(
    containers: Iterable[wire.Container], statuses: Sequence[wire.ContainerStatus] | None
) -> list[Container]:
    by_name = {status.name: status for status in statuses or ()}
    return [_container(container, by_name.get(container.name)) for container in containers]


def _container(container: wire.Container, status: wire.ContainerStatus | None) -> Container:
    resources = container.resources or _NO_RESOURCES
    return Container(
        requests=_asked(resources.requests),
        limits=_asked(resources.limits),
        restartable=container.restart_policy == "Always",
        allocated=_allocated(resources, status),
    )


_NO_RESOURCES: Final = wire.ResourceRequirements()


def _allocated(resources: wire.ResourceRequirements, status: wire.ContainerStatus | None) -> Resources:
    """What the kubelet has given, where it is not what is asked for: a resize in flight (KEP-1287)."""
    if status is None:
        return {}
    given = [status.allocated_resources, status.resources.requests if status.resources else None]
    return greatest(_asked(each) for each in given if each and each != resources.requests)
