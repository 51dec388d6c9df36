"""Kubernetes Events about what the controller does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from autonodes.core.clock import Clock
from autonodes.core.model import Node, Pod
from autonodes.kube.client import KubeClient


@dataclass(frozen=True, slots=True)
class ObjectReference:
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    api_version: str = "v1"

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> ObjectReference:
        raise NotImplementedError

    @classmethod
    def of_pod(cls, pod: Pod) -> ObjectReference:
        raise NotImplementedError

    @classmethod
    def of_node(cls, node: Node) -> ObjectReference:
        raise NotImplementedError


class EventRecorder:
    def __init__(self, client: KubeClient, clock: Clock, *, component: str = "autonodes", instance: str = "") -> None:
        raise NotImplementedError

    def record(
        self, reference: ObjectReference, *, type: Literal["Normal", "Warning"] = "Normal", reason: str, message: str
    ) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        raise NotImplementedError

    async def flush(self) -> None:
        raise NotImplementedError
