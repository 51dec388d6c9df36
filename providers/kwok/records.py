"""What is known of a machine: one ConfigMap in kube-system, written before the Node and deleted after it.

A simulated machine is nothing but its Node, and a Node can't be its own proof: the finalizer on it waits for the
machine to be gone. So the machine is the record, named after the claim's UID, and the Node is what it looks like.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from autonodes.core import labels
from autonodes.core.model import InstanceType, Offering
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import AlreadyExistsError, NotFoundError
from autonodes.kube.resources import CONFIGMAPS
from autonodes.provider import LaunchRequest, Machine, ProviderID
from providers.kwok.catalogue import node_labels
from providers.kwok.nodes import devices

NAMESPACE: Final = "kube-system"
LABEL: Final = "autonodes.io/kwok-machine"
"""On every record; its value is the cluster's name."""
_PREFIX: Final = "autonodes-kwok-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """:param terminating: its removal has begun; it is never started again
    :param devices: by driver, as `nodes.devices` has them
    """

    machine: Machine
    terminating: bool
    devices: Mapping[str, Sequence[Mapping[str, Any]]]


class Records:
    """All machines of one cluster."""

    def __init__(self, kube: KubeClient, cluster: str) -> None:
        self._kube, self._cluster = kube, cluster

    async def get(self, claim_uid: str) -> Record | None:
        """None if there is no such machine."""
        try:
            return self._read(await self._kube.get(CONFIGMAPS, _name(claim_uid), NAMESPACE))
        except NotFoundError:
            return None

    async def list(self) -> list[Record]:
        """Complete, or it raises."""
        found = await self._kube.list(CONFIGMAPS, NAMESPACE, label_selector=f"{LABEL}={self._cluster}")
        return [self._read(body) for body in found]

    async def write(self, request: LaunchRequest, instance_type: InstanceType, offering: Offering) -> Record:
        """The machine as it is bought; if somebody was faster with the same claim, the one that they bought."""
        try:
            body = self._body(request, instance_type, offering)
            return self._read(await self._kube.create(CONFIGMAPS, body, NAMESPACE))
        except AlreadyExistsError:
            return self._read(await self._kube.get(CONFIGMAPS, _name(request.claim_uid), NAMESPACE))

    async def mark_terminating(self, claim_uid: str) -> None:
        """:raises NotFoundError: it is gone"""
        patch = {"data": {"terminating": "true"}}
        await self._kube.merge_patch(CONFIGMAPS, _name(claim_uid), patch, NAMESPACE)

    async def delete(self, claim_uid: str) -> None:
        """Gone when it returns, whether or not it was there."""
        try:
            await self._kube.delete(CONFIGMAPS, _name(claim_uid), NAMESPACE)
        except NotFoundError:
            return

    def _body(self, request: LaunchRequest, instance_type: InstanceType, offering: Offering) -> dict[str, Any]:
        own = {LABEL: self._cluster, labels.CLAIM_UID: request.claim_uid}
        return {
            "metadata": {"name": _name(request.claim_uid), "labels": own},
            "data": {
                "claim": request.claim_name,
                "nodePool": request.node_pool,
                "instanceType": instance_type.name,
                "zone": offering.zone,
                "capacityType": offering.capacity_type,
                "capacity": json.dumps(dict(instance_type.capacity), sort_keys=True),
                "allocatable": json.dumps(dict(instance_type.allocatable), sort_keys=True),
                "labels": json.dumps(node_labels(instance_type, offering), sort_keys=True),
                "devices": json.dumps(devices(instance_type.devices), sort_keys=True),
            },
        }

    def _read(self, body: Mapping[str, Any]) -> Record:
        data, claim_uid = body["data"], body["metadata"]["labels"][labels.CLAIM_UID]
        terminating = data.get("terminating") == "true"
        state: Literal["terminating", "running"] = "terminating" if terminating else "running"
        created = dt.datetime.fromisoformat(body["metadata"]["creationTimestamp"])
        machine = Machine(
            provider_id=provider_id(self._cluster, claim_uid),
            claim_uid=claim_uid,
            claim_name=data["claim"],
            instance_type=data["instanceType"],
            zone=data["zone"],
            capacity_type=data["capacityType"],
            state=state,
            created_at=created.timestamp(),
            capacity=json.loads(data["capacity"]),
            allocatable=json.loads(data["allocatable"]),
            labels=json.loads(data["labels"]),
            image="kwok",
        )
        return Record(machine=machine, terminating=terminating, devices=json.loads(data.get("devices", "{}")))


def provider_id(cluster: str, claim_uid: str) -> ProviderID:
    return ProviderID(f"kwok://{cluster}/{claim_uid}")


def _name(claim_uid: str) -> str:
    return f"{_PREFIX}{claim_uid}"
