"""Who wants room for pods to come, among the files: CapacityBuffers and ProvisioningRequests.

They are resolved as the controller resolves them, with the other files in the place of a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from autonodes.api.capacitybuffer import ACTIVE, CapacityBuffer
from autonodes.api.validation import validate
from autonodes.cli.documents import Document
from autonodes.controllers import bufferpods, provisioningrequests
from autonodes.core.errors import ConfigError
from autonodes.core.model import Pod, PodGroup, PodUID
from autonodes.kube.resources import CAPACITYBUFFERS, PODTEMPLATES, PROVISIONINGREQUESTS, Resource


class _Reference(msgspec.Struct):
    name: str


class _PodSet(msgspec.Struct, rename="camel"):
    pod_template_ref: _Reference
    count: int


class _RequestSpec(msgspec.Struct, rename="camel"):
    provisioning_class_name: str
    pod_sets: list[_PodSet]


class _Request(msgspec.Struct):
    """What has to be there; the controller leaves that to the API server."""

    spec: _RequestSpec


_request: Final = msgspec.json.Decoder(_Request).decode


class RoomObjects:
    """:ivar workloads: pod → what it is drawn as"""

    def __init__(self, documents: Iterable[Document], notes: list[str]) -> None:
        self._documents = {(each.kind, each.namespace, each.name): each for each in documents}
        self._notes = notes
        self._buffered: list[Pod] = []
        self._requested: dict[str, tuple[Pod, ...]] = {}
        self.workloads: dict[PodUID, str] = {}

    def readers(self) -> dict[tuple[str, str], Callable[[Document], None]]:
        """By API group and kind."""
        return {
            (CAPACITYBUFFERS.group, "CapacityBuffer"): self._buffer,
            (PROVISIONINGREQUESTS.group, "ProvisioningRequest"): self._provisioning_request,
            ("", "PodTemplate"): lambda document: None,
        }

    def pods(self, others: Iterable[Pod]) -> tuple[Pod, ...]:
        """Those that room is wanted for, less those that are among the others by now."""
        return (*self._buffered, *provisioningrequests.unmet(self._requested, others))

    def groups(self, others: Iterable[Pod]) -> tuple[PodGroup, ...]:
        """Those of them that are of use only together."""
        return provisioningrequests.groups_of(provisioningrequests.unmet(self._requested, others))

    def _buffer(self, document: Document) -> None:
        buffer = validate(CapacityBuffer, _owned(document), source=document.source)
        if buffer.spec.provisioning_strategy != ACTIVE:
            strategy = buffer.spec.provisioning_strategy
            self._notes.append(f"{document.source}: strategy {strategy} is left to others: no room is planned for it")
            return
        try:
            needed = bufferpods.reference(buffer)
            found = self._find(document, needed.resource, needed.name)
            pods = bufferpods.resolve(buffer, found).pods
        except bufferpods.UnresolvedError as error:
            raise ConfigError("spec", None, str(error)) from error
        self._buffered += pods
        self._draw(document, pods)

    def _provisioning_request(self, document: Document) -> None:
        body = _owned(document)
        pod_sets = _request(msgspec.json.encode(body)).spec.pod_sets
        if not provisioningrequests.is_open(body):
            self._notes.append(f"{document.source}: is over, or of a class that is left to others: not planned for")
            return
        pods: list[Pod] = []
        for number, pod_set in enumerate(pod_sets):
            template = self._find(document, PODTEMPLATES, pod_set.pod_template_ref.name).get("template") or {}
            pods += provisioningrequests.pods_of_set(body, number, template, pod_set.count)
        self._requested[f"{document.namespace}/{document.name}"] = tuple(pods)
        self._draw(document, pods)

    def _find(self, document: Document, resource: Resource, name: str) -> Mapping[str, Any]:
        found = self._documents.get((resource.kind, document.namespace, name))
        if found is None:
            raise ConfigError("spec", name, f"there is no such {resource.kind} among the objects: give it, too")
        return found.body

    def _draw(self, document: Document, pods: Iterable[Pod]) -> None:
        self.workloads.update({pod.uid: f"{document.namespace}/{document.name} (room)" for pod in pods})


def _owned(document: Document) -> dict[str, Any]:
    """As the API server would have it: in a namespace, with a UID."""
    uid = document.metadata.get("uid") or f"{document.kind}/{document.namespace}/{document.name}"
    return {**document.body, "metadata": {**document.metadata, "namespace": document.namespace, "uid": uid}}
