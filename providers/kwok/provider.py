"""The kwok provider: machines that exist in the API server only, to try plans and the controller at scale.

A machine is a record (`records`) and a Node (`nodes`); the real kwok (`simulator`), which runs beside the control
plane, keeps the Node ready and its pods running. Both are written with the same idempotency as with a real machine:

- `create` writes the record, then the Node, then the ResourceSlices that a DRA driver on it would publish. Repeated, it
  makes what is missing. Kubernetes' garbage collector removes the slices after their Node.
- `delete` marks the record, deletes the Node, then the record. A finalizer may hold the Node for longer: with the
  record gone the machine is gone.

Capacity never runs out by itself; the node class can declare offerings sold out.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Final

from autonodes.core import labels
from autonodes.core.errors import EnvironmentFault
from autonodes.core.model import InstanceType, Offering
from autonodes.kube.errors import AlreadyExistsError, ConflictError, NotFoundError
from autonodes.kube.resources import NODES, RESOURCESLICES
from autonodes.provider import (
    CreateError,
    InsufficientCapacityError,
    Interruption,
    LaunchRequest,
    Machine,
    MachineNotFoundError,
    ProviderContext,
    ProviderID,
    RepairPolicy,
)
from providers.kwok import catalogue
from providers.kwok.nodes import node, resource_slices
from providers.kwok.records import Record, Records, provider_id
from providers.kwok.simulator import BINARY

_TOLERATION: Final = 600.0
"""Seconds; as Karpenter's providers have it for the Ready condition."""


class KwokProvider:
    """A provider of simulated machines for the cluster that the context's client talks to."""

    name = "kwok"
    node_class_kind = "KwokNodeClass"

    def __init__(self, context: ProviderContext) -> None:
        self._context, self._kube = context, context.kube
        self._records = Records(context.kube, context.cluster)

    async def start(self) -> None:
        """:raises EnvironmentFault: kwok is not among the components"""
        path = ":".join(map(str, self._context.component_dirs))
        if path and shutil.which(BINARY, path=path) is None:
            raise EnvironmentFault(f"no {BINARY} in {path}", "`autonodes components` shows where components come from")

    async def close(self) -> None:
        """Nothing is held."""

    async def validate(self, node_class: Mapping[str, Any]) -> None:
        """:raises NodeClassNotReadyError: what is wrong with it"""
        catalogue.instance_types(node_class)

    async def instance_types(self, node_class: Mapping[str, Any]) -> Sequence[InstanceType]:
        """:raises NodeClassNotReadyError: the node class can't be read"""
        return catalogue.instance_types(node_class)

    async def create(self, request: LaunchRequest) -> Machine:
        """:raises InsufficientCapacityError: all candidates are sold out, or no longer in the catalogue
        :raises CreateError: another node has the claim's name
        """
        record = await self._records.get(request.claim_uid)
        if record is None:
            await self._check_name(request)
            record = await self._records.write(request, *_choose(request))
        if not record.terminating:
            await self._ensure_node(request, record)
        return record.machine

    async def delete(self, provider_id: ProviderID) -> None:
        """:raises MachineNotFoundError: nothing is left of it"""
        claim_uid = self._claim_uid(provider_id)
        record = await self._records.get(claim_uid)
        if record is None:
            raise MachineNotFoundError(provider_id)
        if not record.terminating:
            await self._records.mark_terminating(claim_uid)
        await self._delete_node(record.machine)
        await self._records.delete(claim_uid)

    async def get(self, provider_id: ProviderID) -> Machine:
        """:raises MachineNotFoundError: no such machine"""
        record = await self._records.get(self._claim_uid(provider_id))
        if record is None:
            raise MachineNotFoundError(provider_id)
        return record.machine

    async def list(self) -> Sequence[Machine]:
        """Complete, or it raises."""
        return [record.machine for record in await self._records.list()]

    async def is_drifted(self, machine: Machine, node_class: Mapping[str, Any]) -> str | None:
        """Drifted if its type, zone or capacity type is no longer offered, sold out or not."""
        for offered in catalogue.instance_types(node_class):
            if offered.name == machine.instance_type:
                places = {(offering.zone, offering.capacity_type) for offering in offered.offerings}
                return None if (machine.zone, machine.capacity_type) in places else "OfferingNotFound"
        return "InstanceTypeNotFound"

    def repair_policies(self) -> Sequence[RepairPolicy]:
        """A node that is not ready for ten minutes is broken."""
        return [
            RepairPolicy(condition_type="Ready", condition_status=status, toleration=_TOLERATION)
            for status in ("False", "Unknown")
        ]

    async def interruptions(self) -> Sequence[Interruption]:
        """Nobody takes these machines away."""
        return ()

    def _claim_uid(self, given: ProviderID) -> str:
        """:raises MachineNotFoundError: it is another provider's, or another cluster's"""
        claim_uid = given.rpartition("/")[2]
        if given != provider_id(self._context.cluster, claim_uid):
            raise MachineNotFoundError(given)
        return claim_uid

    async def _check_name(self, request: LaunchRequest) -> None:
        """Before anything is recorded, so that nothing was bought."""
        try:
            found = await self._kube.get(NODES, request.claim_name)
        except NotFoundError:
            return
        _belongs(found, request)

    async def _ensure_node(self, request: LaunchRequest, record: Record) -> None:
        try:
            made = await self._kube.create(NODES, node(request, record.machine))
        except AlreadyExistsError:
            made = await self._kube.get(NODES, record.machine.claim_name)
            _belongs(made, request)
        for body in resource_slices(record.devices, made):
            with contextlib.suppress(AlreadyExistsError):
                await self._kube.create(RESOURCESLICES, body)

    async def _delete_node(self, machine: Machine) -> None:
        """Only the Node that is this machine's: by its label, and then by its UID."""
        try:
            found = await self._kube.get(NODES, machine.claim_name)
            if _claim_uid_of(found) == machine.claim_uid:
                await self._kube.delete(NODES, machine.claim_name, uid=found["metadata"]["uid"])
        except (NotFoundError, ConflictError):  # gone, or gone and another of that name there
            return


def _choose(request: LaunchRequest) -> tuple[InstanceType, Offering]:
    """The first candidate that can still be had. Candidates may be older than what the node class now declares."""
    now = {
        (offered.name, offering.zone, offering.capacity_type): (offered, offering)
        for offered in catalogue.instance_types(request.node_class)
        for offering in offered.offerings
        if offering.available and offering.price is not None
    }
    for wanted, offering in request.candidates:
        found = now.get((wanted.name, offering.zone, offering.capacity_type))
        if found is not None:
            return found
    names = ", ".join(sorted({wanted.name for wanted, _ in request.candidates}))
    raise InsufficientCapacityError(f"sold out: {names or 'no candidate was given'}")


def _claim_uid_of(found: Mapping[str, Any]) -> str | None:
    value: str | None = (found["metadata"].get("labels") or {}).get(labels.CLAIM_UID)
    return value


def _belongs(found: Mapping[str, Any], request: LaunchRequest) -> None:
    if _claim_uid_of(found) != request.claim_uid:
        raise CreateError("NodeNameTaken", f"a node {request.claim_name} is there already, of another claim")
