"""From a claim to a machine.

The credential is made first, then the machine is bought, then the claim's status says so. Each of the three may be
repeated: the credential is the claim's, the purchase is idempotent on the claim's UID. So a process that dies anywhere
in between is continued by its successor, which finds the same credential and the same machine.

What the provider answers decides, and is told by an event and in the ``Launched`` condition. Without capacity, or with
a node class that can't be used, the claim is deleted and its pods are planned again: elsewhere, for the offerings that
were refused rest for a while (`autonodes.core.availability`). A launch that fails for a reason of its own (a quota, a
network without addresses) goes on with the next offering. Any other failure (throttling, no answer) says nothing about
offerings, and is tried again as it was until the launch deadline (see `liveness`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from autonodes.api.nodeclaim import LAUNCHED, NodeClaim
from autonodes.controllers.candidates import Candidate, candidates
from autonodes.controllers.claims import Claims, Mark
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.joining import Joiner
from autonodes.controllers.nodeoverlays import NodeOverlays
from autonodes.controllers.providers import Providers, Source
from autonodes.core import labels
from autonodes.core.availability import Availability, OfferingKey, offering_of
from autonodes.core.clock import Clock
from autonodes.core.lifecycle import Phase
from autonodes.core.model import InstanceType, Taint
from autonodes.core.narration import LAUNCH, REFUSE
from autonodes.core.quantities import format_resources
from autonodes.core.sharing import shared, shared_capacity
from autonodes.provider import (
    CreateError,
    InsufficientCapacityError,
    LaunchRequest,
    Machine,
    NodeClassNotReadyError,
    ProviderError,
)

log = logging.getLogger(__name__)

UNREGISTERED = Taint(labels.UNREGISTERED_TAINT, "", "NoExecute")
"""Every node is born with it, and loses it when it has all its labels and taints: no pod gets there before."""


class Launch:
    """:param at_once: launches in flight at a time"""

    def __init__(
        self,
        claims: Claims,
        providers: Providers,
        overlays: NodeOverlays,
        availability: Availability,
        joiner: Joiner,
        freeze: Freeze,
        clock: Clock,
        *,
        at_once: int,
    ) -> None:
        self._claims, self._providers, self._overlays = claims, providers, overlays
        self._availability, self._joiner, self._freeze, self._clock = availability, joiner, freeze, clock
        self._gate = asyncio.Semaphore(at_once)

    async def run(self, claim: NodeClaim) -> NodeClaim:
        """The claim, launched; or as it was, when it had to be given up (it is being deleted then).

        :raises ProviderError: not this time; try again
        :raises FrozenError: nothing may be bought now
        :raises ApiError: the API server can't be asked, or the claim changed meanwhile
        """
        if claim.phase is not Phase.PENDING:
            return claim
        try:
            async with self._gate:
                source = self._providers.source(claim.spec.node_class_ref.to_model())
                machine = await self._machine(claim, source)
        except InsufficientCapacityError as error:
            return await self._give_up(claim, "InsufficientCapacityError", error)
        except NodeClassNotReadyError as error:
            return await self._give_up(claim, "NodeClassNotReady", error)
        except ProviderError as error:
            await self._show(claim, error.reason if isinstance(error, CreateError) else "LaunchFailed", error)
            raise
        return await self._launched(claim, machine, source)

    async def _machine(self, claim: NodeClaim, source: Source) -> Machine:
        """The claim's machine: the one that was bought already, or a new one."""
        will_do = await self._candidates(claim, source)
        if not will_do:
            found = await self._bought_before(claim, source)
            if found is None:
                raise InsufficientCapacityError("no instance type that this claim allows can be had now")
            return found
        request = await self._request(claim, source, will_do)
        self._freeze.check()  # strictly after everything that takes time
        try:
            machine = await source.provider.create(request)
        except InsufficientCapacityError as error:
            self._refused(claim, error.offerings or [_offered(each) for each in will_do])
            raise
        except CreateError:
            self._refused(claim, [_offered(will_do[0])])
            raise
        if (bought := offering_of(claim.pool, _labels(machine))) is not None:
            self._availability.succeeded(bought, self._clock.now())
        return machine

    def _refused(self, claim: NodeClaim, offerings: Iterable[tuple[str, str, str]]) -> None:
        self._availability.failed((OfferingKey(claim.pool, *each) for each in offerings), self._clock.now())

    async def _candidates(self, claim: NodeClaim, source: Source) -> tuple[Candidate, ...]:
        wanted = claim.to_model()
        types = [shared(each, claim.metadata.labels) for each in await source.instance_types()]
        offered = tuple(self._overlays.for_claim(claim, types))
        known = self._availability.applied(claim.pool, offered, self._clock.now())
        return candidates(wanted.requirements, wanted.requests, known)

    async def _bought_before(self, claim: NodeClaim, source: Source) -> Machine | None:
        uid = claim.metadata.uid
        return next((machine for machine in await source.provider.list() if machine.claim_uid == uid), None)

    async def _request(self, claim: NodeClaim, source: Source, will_do: tuple[Candidate, ...]) -> LaunchRequest:
        wanted = claim.to_model()
        return LaunchRequest(
            claim_uid=claim.metadata.uid,
            claim_name=claim.name,
            node_pool=claim.pool,
            candidates=will_do,
            node_class=source.node_class,
            labels=claim.metadata.labels,
            taints=(*wanted.taints, *wanted.startup_taints, UNREGISTERED),
            bootstrap=await self._joiner.bootstrap(claim),
        )

    async def _launched(self, claim: NodeClaim, machine: Machine, source: Source) -> NodeClaim:
        log.info(
            "launched %s: %s in %s (%s), %s",
            claim.name, machine.instance_type, machine.zone, machine.capacity_type, machine.provider_id,
        )  # fmt: skip
        claim = await self._claims.annotate(claim, labels=_labels(machine))
        instance_type = await _type_of(machine, source)
        known = _known_labels(claim, machine, instance_type)
        added = self._overlays.added(claim, instance_type)
        status = {
            "providerID": machine.provider_id,
            "imageID": machine.image,
            "capacity": format_resources({**shared_capacity(machine.capacity, known), **added}),
            "allocatable": format_resources({**shared_capacity(machine.allocatable, known), **added}),
        }
        claim = await self._claims.mark(claim, Mark(LAUNCHED), status=status)
        self._claims.report(claim, "Launched", f"Launched {machine.instance_type} as {machine.provider_id}")
        self._claims.decisions.launching(LAUNCH, claim, _bought(machine), "the provider gave this machine")
        return claim

    async def _give_up(self, claim: NodeClaim, reason: str, error: ProviderError) -> NodeClaim:
        log.warning("launch of %s is given up: %s", claim.name, error)
        claim = await self._show(claim, reason, error)
        self._claims.decisions.ending(claim.name, reason, str(error))
        await self._claims.delete(claim)
        return claim

    async def _show(self, claim: NodeClaim, reason: str, error: ProviderError) -> NodeClaim:
        self._claims.report(claim, reason, str(error), type="Warning")
        self._claims.decisions.launching(REFUSE, claim, {"code": reason}, str(error))
        return await self._claims.mark(claim, Mark(LAUNCHED, "False", reason, str(error)))


async def _type_of(machine: Machine, source: Source) -> InstanceType | None:
    return next((each for each in await source.instance_types() if each.name == machine.instance_type), None)


def _bought(machine: Machine) -> Mapping[str, object]:
    return {
        "instanceType": machine.instance_type,
        "zone": machine.zone,
        "capacityType": machine.capacity_type,
        "providerID": machine.provider_id,
    }


def _offered(candidate: Candidate) -> tuple[str, str, str]:
    instance_type, offering = candidate
    return instance_type.name, offering.zone, offering.capacity_type


def _known_labels(claim: NodeClaim, machine: Machine, instance_type: InstanceType | None) -> Mapping[str, str]:
    """What is known of the node's labels: the machine's type's, its own, the pool's."""
    known = instance_type.requirements.labels() if instance_type else {}
    return {**known, **machine.labels, **claim.metadata.labels}


def _labels(machine: Machine) -> dict[str, str]:
    """What the machine says of itself, at least its type, zone and capacity type."""
    known = {
        labels.INSTANCE_TYPE: machine.instance_type,
        labels.ZONE: machine.zone,
        labels.CAPACITY_TYPE: machine.capacity_type,
    }
    return {key: value for key, value in {**known, **machine.labels}.items() if value}
