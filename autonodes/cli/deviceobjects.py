"""The devices among the files (``resource.k8s.io``): classes, published devices, claims, templates of claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from autonodes.cli.documents import Document
from autonodes.core.devices import DeviceClass, DeviceState, ResourceClaim, ResourceSlice
from autonodes.core.errors import ConfigError
from autonodes.core.model import Pod
from autonodes.kube.devices import decode_device_class, decode_resource_claim, decode_resource_slice
from autonodes.kube.resources import RESOURCECLAIMS


class DeviceObjects:
    def __init__(self) -> None:
        self._classes: list[DeviceClass] = []
        self._claims: list[ResourceClaim] = []
        self._slices: list[ResourceSlice] = []
        self._templates: dict[str, Mapping[str, Any]] = {}

    def readers(self) -> dict[tuple[str, str], Callable[[Document], None]]:
        """By API group and kind."""

        def read(kind: Callable[[bytes], Any], into: list[Any]) -> Callable[[Document], None]:
            return lambda document: into.append(kind(_current(document)))

        group = RESOURCECLAIMS.group
        return {
            (group, "DeviceClass"): read(decode_device_class, self._classes),
            (group, "ResourceClaim"): read(decode_resource_claim, self._claims),
            (group, "ResourceSlice"): read(decode_resource_slice, self._slices),
            (group, "ResourceClaimTemplate"): self._template,
        }

    def state(self) -> DeviceState:
        """All of it."""
        return DeviceState(classes=tuple(self._classes), claims=tuple(self._claims), slices=tuple(self._slices))

    def claimed(self, pod: Pod) -> Pod:
        """The pod with claims of its own in the place of templates."""
        if pod.node_name or not any(name.endswith("*") for name in pod.resource_claims):
            return pod
        names: list[str] = []
        for number, name in enumerate(pod.resource_claims):
            template = self._templates.get(f"{pod.namespace}/{name.removesuffix('*')}")
            if not name.endswith("*"):
                names.append(name)
            elif template is None:
                missing = (
                    f"there is no ResourceClaimTemplate {name.removesuffix('*')!r} among the objects: give it, too"
                )
                return replace(pod, fault=pod.fault or f"spec.resourceClaims[{number}]: {missing}")
            else:
                names.append(f"{pod.name}-{number}-{name.removesuffix('*')}")
                self._claims.append(_made(template, pod.namespace, names[-1]))
        return replace(pod, resource_claims=tuple(names))

    def _template(self, document: Document) -> None:
        _current(document)
        spec = document.body.get("spec")
        if not isinstance(spec, Mapping) or not isinstance(spec.get("spec"), Mapping):
            raise ConfigError("spec.spec", None, "a ResourceClaimTemplate has the spec of its ResourceClaims")
        _made(spec["spec"], document.namespace, document.name)
        self._templates[f"{document.namespace}/{document.name}"] = spec["spec"]


def _made(spec: Mapping[str, Any], namespace: str, name: str) -> ResourceClaim:
    body = {"metadata": {"namespace": namespace, "name": name}, "spec": spec}
    return decode_resource_claim(msgspec.json.encode(body))


def _current(document: Document) -> bytes:
    """:raises ConfigError: it is of an older version, whose fields mean something else"""
    version = document.body.get("apiVersion")
    if version not in (None, RESOURCECLAIMS.api_version):
        raise ConfigError("apiVersion", version, f"only {RESOURCECLAIMS.api_version} is read: write it in that version")
    return document.stored()
