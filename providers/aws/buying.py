"""Buying: claims that ask for the same at the same time become one order (see `launches`).

An order is three or four calls, however many machines it is for: a launch template (the user data is in it), the fleet,
which machine is whose (for more than one), and the template is deleted. Each step is written down before it is taken
or can be repeated with the same outcome; `carry_out` goes on wherever an order stands:

written   the template is made; it has one name, so making it again is no harm
ordered   the fleet is created; the same token gives the same machines
bought    the machines are told whose they are; again is no harm
settled   nothing is left to do
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from autonodes.core.clock import Clock
from autonodes.core.errors import AutonodesError
from autonodes.provider import CreateError, InsufficientCapacityError, LaunchRequest, ProviderError
from providers.aws import fleet, tags, userdata
from providers.aws.calls import Answer, Calls
from providers.aws.faults import AwsError, Fault, as_not_ready
from providers.aws.fleet import Candidate, Lot
from providers.aws.launches import Launch, Launches
from providers.aws.market import Market, Markets
from providers.aws.offerings import Offerings
from providers.aws.selectors import Resolved, Selectors

MOST: Final = 50
"""Claims in an order: what fits into 16 KiB of user data and 50 tags."""
MOST_CANDIDATES: Final = 600
"""The cheapest that are looked at."""
_CERTAIN: Final = frozenset({Fault.CREDENTIALS, Fault.DENIED, Fault.NOT_FOUND, Fault.CAPACITY, Fault.REFUSED})
"""After these nothing was bought."""


class Buying:
    def __init__(
        self,
        calls: Calls,
        launches: Launches,
        selectors: Selectors,
        markets: Markets,
        offerings: Offerings,
        clock: Clock,
        *,
        cluster: str,
    ) -> None:
        self._calls, self._launches, self._selectors = calls, launches, selectors
        self._markets, self._offerings, self._clock, self._cluster = markets, offerings, clock, cluster
        self._locks: dict[str, asyncio.Lock] = {}

    def is_busy(self, batch: str) -> bool:
        """Whether this process is at work on an order."""
        return batch in self._locks

    async def buy(self, key: object, requests: Sequence[LaunchRequest]) -> Sequence[Launch | BaseException]:
        """A batch of claims that ask for the same.

        :return: for each the order that it has got a machine in, or why there is none
        """
        resolved = await self._selectors.resolve(requests[0].node_class)
        lots = fleet.lots(requests[0].candidates[:MOST_CANDIDATES])
        usable = {lot: members for lot, each in lots.items() if (members := _usable(lot, each, resolved))}
        waiting = {request.claim_uid: request for request in requests}
        results: dict[str, Launch | BaseException] = {}
        refused: list[tuple[str, str, str]] = []
        for lot, members in usable.items():
            if not waiting:
                break
            for part in self._parts(lot, members, resolved, tuple(waiting.values()), await self._markets.get()):
                results |= await self._buy_of(part, refused)
            waiting = {uid: each for uid, each in waiting.items() if not isinstance(results.get(uid), Launch)}
        nothing = InsufficientCapacityError("EC2 can be asked for none of the candidates: no subnet or image for them")
        return [_with_all_refused(results.get(each.claim_uid, nothing), refused) for each in requests]

    async def _buy_of(
        self, part: tuple[Launch | None, Sequence[LaunchRequest]], refused: list[tuple[str, str, str]]
    ) -> dict[str, Launch | BaseException]:
        launch, requests = part
        results: dict[str, Launch | BaseException] = {}
        error: BaseException | None = None
        if launch is not None:
            try:
                launch = await self.carry_out(launch)
            except InsufficientCapacityError as short:
                error, launch = short, self._launches.get(launch.batch)
                refused += short.offerings
            except AutonodesError as failed:
                error = failed
        for request in requests:
            own = self._launches.of(request.claim_uid)
            if own is not None and own.machine_of(request.claim_uid) is not None:
                results[request.claim_uid] = own
            else:
                results[request.claim_uid] = error or ProviderError("another process buys for this claim; ask again")
        return results

    async def carry_out(self, launch: Launch) -> Launch:
        """Go on with an order.

        :raises InsufficientCapacityError: not all claims have got a machine; those that have not are in it no more
        :raises ProviderError: it failed, or nothing is known; again later
        """
        lock = self._locks.setdefault(launch.batch, asyncio.Lock())
        try:
            async with lock:
                return await self._steps(self._launches.get(launch.batch) or launch)
        finally:
            if not lock.locked():
                self._locks.pop(launch.batch, None)

    async def settle(self, launch: Launch) -> Launch:
        """Tell the machines whose they are, and tidy up.

        :raises AwsError: not this time
        """
        ids = [each.id if each else None for each in launch.machines]
        known = [each for each in ids if each]
        marks = tags.machines(ids)
        if len(launch.claims) > 1 or launch.fleet["TargetCapacitySpecification"]["TotalTargetCapacity"] > 1:
            await self._calls.call(
                *("ec2", "CreateTags"),
                Resources=known,
                Tags=[{"Key": key, "Value": value} for key, value in marks.items()],
            )
        await self.discard_template(launch)
        return self._launches.advance(launch, "settled", template={}, fleet={})

    async def discard_template(self, launch: Launch) -> None:
        """:raises AwsError: it may still be there"""
        if not launch.template:
            return
        try:
            await self._calls.call(
                "ec2", "DeleteLaunchTemplate", LaunchTemplateName=launch.template["LaunchTemplateName"]
            )
        except AwsError as error:
            if error.fault is not Fault.NOT_FOUND:
                raise

    async def _steps(self, launch: Launch) -> Launch:
        short: ProviderError | None = None
        if launch.state == "written":
            launch = await self._make_template(launch)
        if launch.state == "ordered":
            launch, short = await self._order(launch)
        if launch.state == "bought":
            launch = await self.settle(launch)
        if short is not None:
            raise short
        return launch

    async def _make_template(self, launch: Launch) -> Launch:
        try:
            await self._calls.call("ec2", "CreateLaunchTemplate", **launch.template)
        except AwsError as error:
            if error.fault in _CERTAIN:
                self._launches.forget(launch.batch)
                raise _refusal(error) from error
            if error.fault is not Fault.EXISTS:
                raise
        return self._launches.advance(launch, "ordered")

    async def _order(self, launch: Launch) -> tuple[Launch, ProviderError | None]:
        try:
            answer = await self._calls.call("ec2", "CreateFleet", **launch.fleet)
        except AwsError as error:
            now = self._launches.get(launch.batch)
            if now is not None and now.state in ("bought", "settled"):
                return now, None
            if error.fault in _CERTAIN:
                await self.discard_template(launch)
                self._launches.forget(launch.batch)
                raise _refusal(error) from error
            raise
        return await self._bought(launch, answer)

    async def _bought(self, launch: Launch, answer: Answer) -> tuple[Launch, ProviderError | None]:
        zones = {each["SubnetId"]: each["zone"] for each in launch.places}
        machines = fleet.sold(answer, zones, launch.template["LaunchTemplateData"]["ImageId"])
        refused = [(name, zone, launch.capacity_type) for name, zone in fleet.refused(answer, zones)]
        for each in machines:
            self._offerings.had((each.instance_type, each.zone, launch.capacity_type))
        self._offerings.refused(refused)  # strictly after: a pool may run dry in the middle of an order
        if not machines:
            await self.discard_template(launch)
            self._launches.forget(launch.batch)
            raise fleet.shortage(answer, refused)
        padded = (*machines, *[None] * (len(launch.claims) - len(machines)))
        launch = self._launches.advance(launch, "bought", machines=padded)
        if len(machines) >= len(launch.claims):
            return launch, None
        for uid, _ in launch.claims[len(machines) :]:
            self._launches.release(uid)
        return self._launches.get(launch.batch) or launch, fleet.shortage(answer, refused)

    def _parts(
        self,
        lot: Lot,
        members: Sequence[Candidate],
        resolved: Resolved,
        requests: Sequence[LaunchRequest],
        market: Market,
    ) -> list[tuple[Launch | None, Sequence[LaunchRequest]]]:
        """Orders of as many claims as the user data has room for."""
        told = userdata.settings(region=market.region, arch=lot.arch, capacity_type=lot.capacity_type)
        rows = {each.name: market.types[each.name] for each, _ in members if each.name in market.types}
        plans = [request.bootstrap.boot_plan(told) for request in requests]
        data = userdata.render(plans, rows, resolved.sizing, resolved.spec.user_data)
        if len(data) > userdata.LONGEST:
            if len(requests) == 1:
                text = f"the user data has {len(data)} bytes, EC2 takes {userdata.LONGEST}; shorten spec.userData"
                raise CreateError("UserDataTooLong", text)
            half = len(requests) // 2
            return [
                part
                for each in (requests[:half], requests[half:])
                for part in self._parts(lot, members, resolved, each, market)
            ]
        by_uid = {request.claim_uid: request for request in requests}

        def make(batch: str, claims: Sequence[tuple[str, str]]) -> Launch:
            kept = [by_uid[uid] for uid, _ in claims]
            content = data
            if len(kept) < len(requests):
                fewer = [request.bootstrap.boot_plan(told) for request in kept]
                content = userdata.render(fewer, rows, resolved.sizing, resolved.spec.user_data)
            return self._launch(batch, claims, lot, members, resolved, content, pool=requests[0].node_pool)

        launch = self._launches.add([(each.claim_uid, each.claim_name) for each in requests], make)
        return [(launch, requests)]

    def _launch(
        self,
        batch: str,
        claims: Sequence[tuple[str, str]],
        lot: Lot,
        members: Sequence[Candidate],
        resolved: Resolved,
        user_data: bytes,
        *,
        pool: str,
    ) -> Launch:
        marks = {
            **resolved.spec.tags,
            tags.CLUSTER: self._cluster,
            tags.NODE_POOL: pool,
            tags.NODE_CLASS: resolved.name,
            tags.NODE_CLASS_HASH: resolved.hash,
            tags.BATCH: batch,
            tags.SIZING: tags.text_of(resolved.sizing),
            tags.CAPACITY_TYPE: lot.capacity_type,
            **tags.claims(claims),
        }
        template = fleet.template(batch, lot, resolved, user_data, cluster=self._cluster)
        order = fleet.request(
            *(batch, members, lot, resolved, marks), count=len(claims), name=template["LaunchTemplateName"]
        )
        return Launch(
            batch=batch,
            claims=tuple(claims),
            created_at=self._clock.now(),
            capacity_type=lot.capacity_type,
            sizing=marks[tags.SIZING],
            places=[{"SubnetId": subnet.id, "zone": zone} for zone, subnet in resolved.subnets.items()],
            template=template,
            fleet=order,
        )


def _usable(lot: Lot, members: Sequence[Candidate], resolved: Resolved) -> list[Candidate]:
    """Those that there is an image and a subnet for; the node class may have changed since they were chosen."""
    if lot.arch not in resolved.images:
        return []
    return [each for each in members if each[1].zone in resolved.subnets]


def _refusal(error: AwsError) -> ProviderError:
    if error.fault is Fault.CAPACITY:
        return InsufficientCapacityError(str(error))
    if error.fault in (Fault.CREDENTIALS, Fault.DENIED):
        return as_not_ready(error)
    return CreateError(error.code.replace(".", ""), str(error))


def _with_all_refused(
    result: Launch | BaseException, refused: Sequence[tuple[str, str, str]]
) -> Launch | BaseException:
    """What all lots were refused, in one error."""
    if isinstance(result, InsufficientCapacityError) and refused:
        return InsufficientCapacityError(str(result), offerings=tuple(dict.fromkeys(refused)))
    return result
