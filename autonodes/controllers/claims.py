"""Reading and writing NodeClaims.

Every decision about a claim starts from the API server's own copy, not from a cache, and every write is tied to the
version that it was decided on: two steps can't overwrite each other's conditions, and a claim of the same name but
another UID is never touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from autonodes.api.conditions import Condition, ConditionStatus, set_condition, set_ready, to_json
from autonodes.api.nodeclaim import DISRUPTION_REASON, READY_DEPENDENTS, NodeClaim
from autonodes.api.objects import moment as moment_of
from autonodes.api.objects import timestamp
from autonodes.controllers.decisionlog import DecisionLog
from autonodes.core import lifecycle
from autonodes.core.clock import Clock
from autonodes.core.labels import TERMINATION_FINALIZER, TERMINATION_TIMESTAMP
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import ConflictError, NotFoundError
from autonodes.kube.events import EventRecorder, ObjectReference
from autonodes.kube.resources import NODECLAIMS

_MESSAGE: Final = 300
"""Characters of a provider's error that go into a condition; the log has all of it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A condition to be set; reason and message as in `set_condition`."""

    type: str
    status: ConditionStatus = "True"
    reason: str = ""
    message: str = ""


def created_at(claim: NodeClaim) -> float:
    """Seconds since the epoch."""
    return timestamp(claim.metadata.creation_timestamp) or 0.0


def deleted_at(claim: NodeClaim) -> float | None:
    """Seconds since the epoch; None as long as nobody asked for its deletion."""
    return timestamp(claim.metadata.deletion_timestamp)


def has_ended(claim: NodeClaim) -> bool:
    """Whether nothing is left behind it: it is being deleted, and the finalizer that waits for its machine is gone."""
    return claim.metadata.deletion_timestamp is not None and TERMINATION_FINALIZER not in claim.metadata.finalizers


def shown(seconds: float) -> str:
    """A moment as the API server shows it."""
    return moment_of(seconds).isoformat().replace("+00:00", "Z")


def reference(claim: NodeClaim) -> ObjectReference:
    """For events about it."""
    return ObjectReference(kind="NodeClaim", name=claim.name, uid=claim.metadata.uid, api_version=claim.api_version)


class Claims:
    """:ivar decisions: where it is written what becomes of them"""

    def __init__(self, client: KubeClient, events: EventRecorder, decisions: DecisionLog, clock: Clock) -> None:
        self._client, self._events, self._clock = client, events, clock
        self.decisions = decisions

    async def get(self, name: str, uid: str) -> NodeClaim | None:
        """The claim as it is now; None when it is gone for good, or another one has its name.

        :raises ApiError: it can't be known
        """
        try:
            claim = NodeClaim.from_api(await self._client.get(NODECLAIMS, name))
        except NotFoundError:
            return None
        return claim if claim.metadata.uid == uid else None

    async def mark(self, claim: NodeClaim, *marks: Mark, status: Mapping[str, Any] | None = None) -> NodeClaim:
        """Set conditions, and with them ``Ready``, and further fields of the status; nothing is written if it is so.

        :param status: JSON of further fields
        :raises ConflictError: the claim changed meanwhile: look again
        :raises IllegalTransitionError: a condition has no place in the claim's phase
        """
        conditions: tuple[Condition, ...] = claim.status.conditions
        now = self._clock.now()
        true, deleting = set(claim.true_conditions), claim.metadata.deletion_timestamp is not None
        for mark in marks:
            lifecycle.check(mark.type, mark.status, true, deleting=deleting)
            if mark.status == "True":
                true.add(mark.type)
            conditions = set_condition(
                conditions, mark.type, mark.status, now=now, reason=mark.reason, message=mark.message[:_MESSAGE]
            )
        conditions = set_ready(conditions, READY_DEPENDENTS, now=now)
        if conditions == claim.status.conditions and not status:
            return claim
        patch = _tied(claim) | {"status": {**(status or {}), "conditions": to_json(conditions)}}
        return NodeClaim.from_api(await self._client.merge_patch(NODECLAIMS, claim.name, patch, subresource="status"))

    async def annotate(
        self, claim: NodeClaim, *, labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None
    ) -> NodeClaim:
        """Add labels and annotations; what is there already keeps its value.

        :raises ConflictError: the claim changed meanwhile: look again
        """
        new_labels = {key: value for key, value in (labels or {}).items() if key not in claim.metadata.labels}
        new_annotations = {
            key: value for key, value in (annotations or {}).items() if key not in claim.metadata.annotations
        }
        if not new_labels and not new_annotations:
            return claim
        patch = _tied(claim)
        patch["metadata"] |= {"labels": new_labels, "annotations": new_annotations}
        return NodeClaim.from_api(await self._client.merge_patch(NODECLAIMS, claim.name, patch))

    async def end(
        self, claim: NodeClaim, reason: str, message: str, *, type: Literal["Normal", "Warning"] = "Normal"
    ) -> None:
        """Say why in an event and in the decision log, and delete it.

        :param reason: CamelCase
        :raises ApiError: the API server can't be asked
        """
        self.report(claim, reason, f"Deleted: {message}", type=type)
        self.decisions.ending(claim.name, reason, message)
        await self.delete(claim)

    async def delete(self, claim: NodeClaim) -> None:
        """Ask for its deletion, if it is still this very claim; its finalizer holds it until its machine is gone.

        :raises ApiError: the API server can't be asked
        """
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._client.delete(NODECLAIMS, claim.name, uid=claim.metadata.uid)

    async def end_by(self, claim: NodeClaim, moment: float, reason: str, message: str) -> None:
        """Delete it, and let its machine go at a moment, drained or not (seconds since the epoch): a machine that is
        broken or taken away is not waited for. Each part may be repeated.

        :param reason: CamelCase, for the ``DisruptionReason`` condition and an event
        :raises ConflictError: the claim changed meanwhile: look again
        """
        claim = await self.mark(claim, Mark(DISRUPTION_REASON, "True", reason, message))
        claim = await self.annotate(claim, annotations={TERMINATION_TIMESTAMP: shown(moment)})
        self.report(claim, reason, message, type="Warning")
        self.decisions.ending(claim.name, reason, message)
        await self.delete(claim)

    def report(
        self, claim: NodeClaim, reason: str, message: str, *, type: Literal["Normal", "Warning"] = "Normal"
    ) -> None:
        """An event on the claim."""
        self._events.record(reference(claim), type=type, reason=reason, message=message)


def _tied(claim: NodeClaim) -> dict[str, Any]:
    """The beginning of a patch that holds for this version of this object only."""
    return {"metadata": {"uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version}}
