"""The inventory: `BareMetalHost` objects, whose status is the durable state of the machines.

Every change of a status names the version that it was decided on, so that of two controllers that overlap only one gets
its way; the other looks again.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from autonodes.api.baremetal import BareMetalHostSpec, BareMetalHostStatus
from autonodes.api.conditions import READY, Condition, ConditionStatus, set_condition
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import BAREMETALHOSTS, SECRETS
from providers.metal.bmc import BadCredentialsError
from providers.metal.states import State, check

NAMESPACE: Final = "kube-system"
"""Of the Secrets, the allocations and the ledger."""


@dataclass(frozen=True, slots=True)
class Host:
    name: str
    uid: str
    version: str
    generation: int
    labels: Mapping[str, str]
    spec: BareMetalHostSpec
    status: BareMetalHostStatus

    @property
    def state(self) -> State:
        return State(self.status.state or State.REGISTERING)

    @property
    def at_work(self) -> bool:
        return bool(self.status.step)


class Hosts:
    """``written`` counts the statuses that were written."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        self._known: Mapping[str, Host] = {}
        self.written = 0

    async def all(self) -> list[Host]:
        """By name; complete, or it raises. One that can't be read is left out: its definition let it in once."""
        found = [self._read(body) for body in await self._kube.list(BAREMETALHOSTS)]
        self._known = {each.uid: each for each in found if each is not None}
        return sorted(self._known.values(), key=lambda each: each.name)

    def _read(self, body: Mapping[str, Any]) -> Host | None:
        """Of a large inventory most have not changed since the last look: reading each anew is what would cost."""
        metadata = body["metadata"]
        known = self._known.get(metadata["uid"])
        return known if known and known.version == metadata["resourceVersion"] else _host(body)

    async def get(self, name: str) -> Host | None:
        """None if there is no such host, or it can't be read."""
        try:
            return _host(await self._kube.get(BAREMETALHOSTS, name))
        except NotFoundError:
            return None

    async def write(self, host: Host, **changes: Any) -> Host:
        """The host with these fields of its status.

        :raises ConflictError: it is another version by now
        :raises IllegalTransitionError: a defect
        """
        status = host.status.model_copy(update=changes)
        check(host.state, State(status.state or State.REGISTERING))
        body = await self._kube.merge_patch(
            BAREMETALHOSTS,
            host.name,
            {
                "metadata": {"resourceVersion": host.version, "uid": host.uid},
                "status": status.model_dump(mode="json", by_alias=True),
            },
            subresource="status",
        )
        self.written += 1
        written = _host(body)
        if written is None:
            raise ValueError(f"{host.name}: what was written can't be read")
        return written

    async def secret(self, host: Host) -> Mapping[str, str]:
        """:raises BadCredentialsError: it is not there"""
        name = host.spec.credentials_secret
        try:
            data = (await self._kube.get(SECRETS, name, NAMESPACE)).get("data") or {}
        except NotFoundError as error:
            remedy = "make it, with username and password" if host.spec.bmc else "make it, with ssh-privatekey"
            raise BadCredentialsError(f"Secret {NAMESPACE}/{name} does not exist: {remedy}") from error
        return {key: base64.b64decode(value).decode() for key, value in data.items()}


def conditions(host: Host, status: ConditionStatus, reason: str, message: str, *, now: float) -> tuple[Condition, ...]:
    """Its conditions with this ``Ready``."""
    return set_condition(
        host.status.conditions,
        READY,
        status,
        now=now,
        reason=reason,
        message=message,
        observed_generation=host.generation,
    )


def _host(body: Mapping[str, Any]) -> Host | None:
    metadata = body["metadata"]
    try:
        return Host(
            name=metadata["name"],
            uid=metadata["uid"],
            version=metadata["resourceVersion"],
            generation=metadata.get("generation", 0),
            labels=metadata.get("labels") or {},
            spec=BareMetalHostSpec.model_validate(body["spec"], extra="ignore", by_alias=True),
            status=BareMetalHostStatus.model_validate(body.get("status") or {}, extra="ignore", by_alias=True),
        )
    except ValidationError:
        return None
