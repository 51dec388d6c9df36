"""The AWS provider: machines of EC2.

What is bought is written down on this host before it is ordered (`launches`), and tagged with its claims as it is born
(`tags`); both together are the truth. EC2's own lists lag by seconds behind what was bought, so a machine that was
ordered is listed from the order for as long as EC2 does not show it.

Options: ``region``; ``queue``, the name of the SQS queue of notices (see `interruption`); ``rebalance``, ``act`` (the
default) or ``ignore``; ``batch``, how many machines are ordered together at most (see `userdata`); ``endpoint``, a URL
in place of AWS' own. Credentials are boto3's: environment, profile, or the machine's role.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from autonodes.api.validation import nearest
from autonodes.core.clock import Clock
from autonodes.core.errors import EnvironmentFault
from autonodes.core.model import InstanceType
from autonodes.provider import (
    InsufficientCapacityError,
    Interruption,
    LaunchRequest,
    Machine,
    MachineNotFoundError,
    ProviderContext,
    ProviderError,
    ProviderID,
    RepairPolicy,
)
from providers.aws import buying, machines
from providers.aws.batching import Batcher
from providers.aws.buying import Buying
from providers.aws.calls import Calls
from providers.aws.clock import SystemClock
from providers.aws.drift import drift
from providers.aws.faults import AwsError, Fault, as_not_ready
from providers.aws.interruption import Notices
from providers.aws.inventory import Inventory
from providers.aws.launches import Launch, Launches
from providers.aws.machines import Instance
from providers.aws.market import Market, Markets
from providers.aws.offerings import Offerings
from providers.aws.selectors import Selectors

log = logging.getLogger(__name__)

_OPTIONS: Final = ("region", "queue", "rebalance", "batch", "endpoint")
_WINDOW: Final = 0.05
"""Seconds in which calls gather."""
_AT_ONCE: Final = 100
"""Machines in one describe or terminate call."""
_TOLERATION: Final = 600.0
"""Seconds; as Karpenter's providers have it for the Ready condition."""


class AwsProvider:
    """A provider of EC2 machines in one region of one account."""

    name = "aws"
    node_class_kind = "AWSNodeClass"

    def __init__(self, context: ProviderContext, *, clock: Clock | None = None) -> None:
        self._context, self._clock = context, clock or SystemClock()
        options = _checked(context.options)
        directory = context.state_dir.absolute() / self.name
        self._calls = Calls(region=options.get("region"), endpoint=options.get("endpoint"))
        self._launches = Launches(directory / "launches")
        self._selectors = Selectors(self._calls, self._clock, cluster=context.cluster)
        self._markets = Markets(self._calls, self._clock, directory / "market.json")
        self._offerings = Offerings(self._markets, self._clock)
        self._buying = Buying(
            *(self._calls, self._launches, self._selectors, self._markets, self._offerings, self._clock),
            cluster=context.cluster,
        )
        self._inventory = Inventory(self._calls, self._launches, self._buying, self._clock, cluster=context.cluster)
        most = int(options.get("batch", buying.MOST))
        self._orders: Batcher[object, LaunchRequest, Launch] = Batcher(
            self._buying.buy, self._clock, window=_WINDOW, most=most
        )
        self._looks: Batcher[str, str, Instance | None] = Batcher(
            self._look, self._clock, window=_WINDOW, most=_AT_ONCE
        )
        self._ends: Batcher[str, str, None] = Batcher(self._end, self._clock, window=_WINDOW, most=_AT_ONCE)
        queue = options.get("queue")
        self._notices = (
            Notices(self._calls, self._clock, queue=queue, rebalance=options.get("rebalance", "act") == "act")
            if queue
            else None
        )

    async def start(self) -> None:
        """:raises EnvironmentFault: no region is set"""
        log.info("machines of %s are bought in %s", self._context.cluster, self._calls.region)

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in (self._orders, self._looks, self._ends, self._markets)))
        self._calls.close()

    async def validate(self, node_class: Mapping[str, Any]) -> None:
        """:raises NodeClassNotReadyError: a selector matches nothing, the credentials don't suffice, …
        :raises ProviderError: it can't be known now
        """
        await self._selectors.resolve(node_class, fresh=True)
        await self._market()

    async def instance_types(self, node_class: Mapping[str, Any]) -> Sequence[InstanceType]:
        """:raises NodeClassNotReadyError: it can't be used
        :raises ProviderError: they can't be known
        """
        resolved = await self._selectors.resolve(node_class)
        await self._market()
        return await self._offerings.of(resolved)

    async def create(self, request: LaunchRequest) -> Machine:
        """As the contract says; one of several at about the same time that ask for the same."""
        market = await self._market()
        found = await self._bought(request.claim_uid, market)
        if found is not None:
            return found
        if not request.candidates:
            raise InsufficientCapacityError("no candidate was given")
        launch = await self._orders.add(_alike(request), request)
        return _machine_in(launch, request.claim_uid, market)

    async def delete(self, provider_id: ProviderID) -> None:
        """As the contract says."""
        instance_id = machines.instance_id(provider_id)
        found = await self._looks.add("", instance_id)
        if found is None and self._inventory.ordered(instance_id) is None:
            raise MachineNotFoundError(provider_id)
        if found is not None and (found.is_gone or found.zone != provider_id.split("/")[-2]):
            self._inventory.gone(found)
            raise MachineNotFoundError(provider_id)
        if found is None or found.state != "shutting-down":
            await self._ends.add("", instance_id)

    async def get(self, provider_id: ProviderID) -> Machine:
        """:raises MachineNotFoundError: no such machine"""
        instance_id = machines.instance_id(provider_id)
        found, market = await self._looks.add("", instance_id), await self._market()
        if found is None and (ordered := self._inventory.ordered(instance_id)) is not None:
            return machines.bought_machine(*ordered, market)
        if found is None or found.is_gone or found.zone != provider_id.split("/")[-2]:
            raise MachineNotFoundError(provider_id)
        return machines.machine(found, market, self._inventory.claim_of(found))

    async def list(self) -> Sequence[Machine]:
        """Complete, or it raises."""
        market = await self._market()
        return await self._inventory.all(market)

    async def is_drifted(self, machine: Machine, node_class: Mapping[str, Any]) -> str | None:
        """The reason, or None.

        :raises ProviderError: it can't be known
        """
        resolved = await self._selectors.resolve(node_class)
        instance_id = machines.instance_id(machine.provider_id)
        found = self._inventory.seen(instance_id) or await self._looks.add("", instance_id)
        if found is None:
            return None
        return drift(found, resolved)

    def repair_policies(self) -> Sequence[RepairPolicy]:
        """A node that is not ready for ten minutes is broken."""
        return [
            RepairPolicy(condition_type="Ready", condition_status=status, toleration=_TOLERATION)
            for status in ("False", "Unknown")
        ]

    async def interruptions(self) -> Sequence[Interruption]:
        """None without a queue.

        :raises ProviderError: they can't be known
        """
        if self._notices is None:
            return ()
        await self._notices.receive()
        if self._notices.is_quiet:
            return ()
        present = {machines.instance_id(each.provider_id): each.provider_id for each in await self.list()}
        return await self._notices.in_force(present)

    async def _market(self) -> Market:
        try:
            return await self._markets.get()
        except AwsError as error:
            raise as_not_ready(error) from error

    async def _bought(self, claim_uid: str, market: Market) -> Machine | None:
        """What was bought for a claim before; an order that was begun is finished."""
        launch = self._launches.of(claim_uid)
        if launch is None:
            return await self._inventory.find(claim_uid, market)
        if self._inventory.is_overdue(launch):
            await self._inventory.all(market)
            return await self._bought(claim_uid, market)
        if launch.state != "settled":
            try:
                launch = await self._buying.carry_out(launch)
            except InsufficientCapacityError:
                launch = self._launches.get(launch.batch) or launch
        bought = launch.machine_of(claim_uid)
        if bought is None:
            return None
        return await self.get(machines.provider_id(bought.zone, bought.id))

    async def _look(self, _: str, ids: Sequence[str]) -> Sequence[Instance | None]:
        found = {each.id: each for each in await self._inventory.describe(ids)}
        return [found.get(each) for each in ids]

    async def _end(self, _: str, ids: Sequence[str]) -> Sequence[BaseException | None]:
        try:
            await self._calls.call("ec2", "TerminateInstances", InstanceIds=sorted(set(ids)))
        except AwsError as error:
            if error.fault is not Fault.NOT_FOUND or len(ids) == 1:
                raise
        else:
            return [None] * len(ids)
        outcomes = await asyncio.gather(*(self._end("", [each]) for each in ids), return_exceptions=True)
        return [each if isinstance(each, BaseException) else None for each in outcomes]


def _alike(request: LaunchRequest) -> object:
    """Requests that are one order: the same candidates, node class and pool."""
    metadata = request.node_class.get("metadata", {})
    return (
        *(request.node_pool, metadata.get("name"), metadata.get("generation"), repr(request.node_class.get("spec"))),
        tuple(
            (each.name, offering.zone, offering.capacity_type, offering.reservation)
            for each, offering in request.candidates[: buying.MOST_CANDIDATES]
        ),
    )


def _machine_in(launch: Launch, claim_uid: str, market: Market) -> Machine:
    bought = launch.machine_of(claim_uid)
    if bought is None:
        raise ProviderError("the order was changed meanwhile; ask again")
    claim = next(each for each in launch.claims if each[0] == claim_uid)
    return machines.bought_machine(launch, bought, claim, market)


def _checked(options: Mapping[str, str]) -> Mapping[str, str]:
    """:raises EnvironmentFault: one can't be read"""
    for key in options:
        if key not in _OPTIONS:
            close = nearest(key, _OPTIONS)
            remedy = f"known are {', '.join(_OPTIONS)}" + (f"; did you mean {close}?" if close else "")
            raise EnvironmentFault(f"the aws provider has no property {key}", remedy)
    rules: Mapping[str, tuple[Callable[[str], bool], str]] = {
        "rebalance": (lambda value: value in ("act", "ignore"), "write act or ignore"),
        "batch": (lambda value: value.isdecimal() and 1 <= int(value) <= buying.MOST, f"write 1 to {buying.MOST}"),
    }
    for key, (is_good, remedy) in rules.items():
        if key in options and not is_good(options[key]):
            raise EnvironmentFault(f"the aws provider's property {key} is {options[key]!r}", remedy)
    return options
