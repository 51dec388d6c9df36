"""From a CapacityBuffer to the pods that it wants room for, whoever has read the objects that it refers to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from autonodes.api.capacitybuffer import CapacityBuffer
from autonodes.core.errors import ConfigError
from autonodes.core.headroom import buffer_size, headroom
from autonodes.core.model import Pod
from autonodes.core.quantities import parse_resources
from autonodes.kube.decoding import decode_pod
from autonodes.kube.resources import DEPLOYMENTS, PODTEMPLATES, REPLICASETS, STATEFULSETS, Resource

_SCALABLE: Final[Mapping[str, Resource]] = {each.kind: each for each in (DEPLOYMENTS, STATEFULSETS, REPLICASETS)}


class UnresolvedError(Exception):
    """:param reason: for the condition"""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reference:
    """An object of the buffer's namespace that has the template of its pods."""

    resource: Resource
    name: str

    def missing(self) -> UnresolvedError:
        """There is no such object."""
        reason = "PodTemplateNotFound" if self.resource is PODTEMPLATES else "ScalableRefNotFound"
        return UnresolvedError(reason, f"{self.resource.kind} {self.name} does not exist in this namespace")


@dataclass(frozen=True, slots=True)
class Resolved:
    """:param status: what the buffer's status shows of it"""

    pods: tuple[Pod, ...]
    status: Mapping[str, Any]


def reference(buffer: CapacityBuffer) -> Reference:
    """What has to be read to know the buffer's pods.

    :raises UnresolvedError: it refers to nothing that can be known
    """
    template, workload = buffer.spec.pod_template_ref, buffer.spec.scalable_ref
    if template is not None:
        return Reference(PODTEMPLATES, template.name)
    if workload is None:
        raise UnresolvedError("ResolutionFailed", "give podTemplateRef or scalableRef")
    resource = _SCALABLE.get(workload.kind) if workload.api_group in (None, "", "apps") else None
    if resource is None:
        listed = ", ".join(sorted(_SCALABLE))
        raise UnresolvedError("ResolutionFailed", f"scalableRef.kind {workload.kind}: known are {listed} of apps")
    return Reference(resource, workload.name)


def resolve(buffer: CapacityBuffer, body: Mapping[str, Any]) -> Resolved:
    """:param body: the object that `reference` names
    :raises UnresolvedError: it has no pod that makes sense
    """
    if buffer.spec.pod_template_ref is not None:
        status = {
            "podTemplateRef": {"name": buffer.spec.pod_template_ref.name},
            "podTemplateGeneration": body["metadata"].get("generation"),
        }
        return Resolved(_pods(buffer, body.get("template") or {}, None), status)
    spec = body.get("spec") or {}
    scale = spec.get("replicas")
    pods = _pods(buffer, spec.get("template") or {}, 1 if scale is None else scale)
    return Resolved(pods, {"podTemplateRef": None, "podTemplateGeneration": None})


def _pods(buffer: CapacityBuffer, template: Mapping[str, Any], scale: int | None) -> tuple[Pod, ...]:
    namespace, uid = buffer.metadata.namespace or "", buffer.metadata.uid
    metadata = {**(template.get("metadata") or {}), "name": buffer.name, "namespace": namespace, "uid": uid}
    try:
        shape = decode_pod(msgspec.json.encode({"metadata": metadata, "spec": template.get("spec") or {}}))
        limits = parse_resources(buffer.spec.limits, path="spec.limits", capacity=True)
    except (ConfigError, msgspec.ValidationError) as error:
        raise UnresolvedError("ResolutionFailed", str(error)) from error
    count = buffer_size(
        shape.requests,
        replicas=buffer.spec.replicas,
        percentage=buffer.spec.percentage,
        scale=scale,
        limits=limits,
    )
    return headroom(shape, namespace, buffer.name, uid, count)
