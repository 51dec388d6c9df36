"""Which machines there are: EC2's list, and what was ordered and is not in it yet.

EC2 shows a machine to everybody only seconds after it was bought. Until `LAG` has passed, one that was ordered and is
not shown counts as on its way; one that is shown as terminated does not. An order of which nobody here knows how it
ended (its process was killed) is looked for by its tag; before `UNKNOWN` has passed, nothing can be said about it, and
so nothing about the whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from autonodes.core.clock import Clock
from autonodes.provider import Machine, ProviderError
from providers.aws import machines, tags
from providers.aws.buying import Buying
from providers.aws.calls import Calls
from providers.aws.faults import AwsError
from providers.aws.launches import Bought, Launch, Launches
from providers.aws.machines import Instance
from providers.aws.market import Market

log = logging.getLogger(__name__)

LAG: Final = 600.0
"""Seconds for which an order is believed."""
UNKNOWN: Final = 60.0
"""Seconds within which EC2 shows what an order bought."""
_KEPT: Final = 60.0
"""Seconds for which an instance is as it was seen."""
_LOOK: Final = 0.1
_LOOKS: Final = 50
"""Seconds between looks at an order that another process carries out, and how many."""
_PAGE: Final = 1000


class Inventory:
    def __init__(self, calls: Calls, launches: Launches, buying: Buying, clock: Clock, *, cluster: str) -> None:
        self._calls, self._launches, self._buying, self._clock = calls, launches, buying, clock
        self._cluster = cluster
        self._seen: dict[str, Instance] = {}
        self._seen_at = float("-inf")
        self._by_claim: dict[str, Instance] = {}
        self._ended: set[str] = set()
        self._lock = asyncio.Lock()

    async def all(self, market: Market) -> list[Machine]:
        """Every machine of the cluster, or it raises.

        :raises ProviderError: an order's outcome is not known, or EC2 does not answer
        """
        await self._wait_for_others()
        launches = self._launches.all()  # strictly before EC2 is asked
        found = await self._asked()
        await self._adopt(launches, found)
        launches = [each for each in self._launches.all() if each.batch in {before.batch for before in launches}]
        shown = [machines.machine(each, market, self.claim_of(each)) for each in found.values()
                 if not each.is_gone and not self._is_being_assigned(each)]  # fmt: skip
        coming = [
            machines.bought_machine(launch, bought, claim, market)
            for launch in launches
            for claim, bought in zip(launch.claims, launch.machines, strict=False)
            if bought is not None and bought.id not in found and self._is_believed(launch)
        ]
        await self._tidy(launches, found)
        return sorted((*shown, *coming), key=lambda each: each.provider_id)

    async def find(self, claim_uid: str, market: Market) -> Machine | None:
        """The machine of a claim that no order has: it was bought long ago, or this host has lost the order."""
        async with self._lock:
            if self._clock.now() >= self._seen_at + LAG / 2:
                await self.all(market)
        found = self._by_claim.get(claim_uid)
        return None if found is None else machines.machine(found, market, self.claim_of(found))

    async def describe(self, ids: Sequence[str]) -> list[Instance]:
        """Those of the ids that are machines of this cluster."""
        rows = await self._calls.items(
            *("ec2", "DescribeInstances", "Reservations"),
            Filters=[self._ours(), {"Name": "instance-id", "Values": sorted(set(ids))}],
        )
        found = [machines.instance(raw) for row in rows for raw in row["Instances"]]
        self._seen |= {each.id: each for each in found}
        for each in found:
            if each.is_gone:
                self.gone(each)
        return found

    def seen(self, instance_id: str) -> Instance | None:
        """As the last list had it, if that is not long ago."""
        return self._seen.get(instance_id) if self._clock.now() < self._seen_at + _KEPT else None

    def ordered(self, instance_id: str) -> tuple[Launch, Bought, tuple[str, str]] | None:
        """The order of a machine that EC2 does not show yet."""
        if instance_id in self._ended:
            return None
        for launch in self._launches.all():
            for claim, bought in zip(launch.claims, launch.machines, strict=False):
                if bought is not None and bought.id == instance_id and self._is_believed(launch):
                    return launch, bought, claim
        return None

    def claim_of(self, found: Instance) -> tuple[str, str] | None:
        """UID and name."""
        claim = tags.claim_of(found.id, found.tags)
        if claim is not None:
            return claim
        launch = self._launches.get(found.tags.get(tags.BATCH, ""))
        pairs = zip(launch.claims, launch.machines, strict=False) if launch else ()
        return next((claim for claim, bought in pairs if bought is not None and bought.id == found.id), None)

    def gone(self, found: Instance) -> None:
        """EC2 says that it is terminated: its claim may be in another order."""
        self._ended.add(found.id)
        claim = self.claim_of(found)
        if claim is None:
            return
        launch = self._launches.of(claim[0])
        bought = launch.machine_of(claim[0]) if launch else None
        if bought is not None and bought.id == found.id:
            self._launches.release(claim[0])
        if (known := self._by_claim.get(claim[0])) is not None and known.id == found.id:
            del self._by_claim[claim[0]]

    def is_overdue(self, launch: Launch) -> bool:
        """Whether it must be known from EC2's list by now what an unfinished order has bought."""
        return launch.state in ("written", "ordered") and self._clock.now() >= launch.created_at + UNKNOWN

    async def _asked(self) -> dict[str, Instance]:
        rows = await self._calls.items(
            *("ec2", "DescribeInstances", "Reservations"), Filters=[self._ours()], MaxResults=_PAGE
        )
        found = {each.id: each for row in rows for each in map(machines.instance, row["Instances"])}
        self._seen, self._seen_at = found, self._clock.now()
        self._ended = {each.id for each in found.values() if each.is_gone} | (self._ended - found.keys())
        self._by_claim = {
            claim[0]: each for each in found.values() if not each.is_gone and (claim := self.claim_of(each)) is not None
        }
        return found

    def _ours(self) -> dict[str, Any]:
        return {"Name": f"tag:{tags.CLUSTER}", "Values": [self._cluster]}

    def _is_believed(self, launch: Launch) -> bool:
        return self._clock.now() < launch.created_at + LAG

    def _is_being_assigned(self, found: Instance) -> bool:
        return self.claim_of(found) is None and self._buying.is_busy(found.tags.get(tags.BATCH, ""))

    async def _wait_for_others(self) -> None:
        for _ in range(_LOOKS):
            unknown = [
                each
                for each in self._launches.all()
                if each.state == "ordered" and not self._buying.is_busy(each.batch) and not self.is_overdue(each)
            ]
            if not unknown:
                return
            await self._clock.sleep(_LOOK)
        raise ProviderError(f"it is not known yet what these orders have bought: {unknown}; ask again")

    async def _adopt(self, launches: Sequence[Launch], found: Mapping[str, Instance]) -> None:
        """Orders that nobody finished: what EC2 shows of them is what they have bought."""
        for launch in launches:
            if self._buying.is_busy(launch.batch) or not self.is_overdue(launch):
                continue
            own = sorted((each for each in found.values() if each.tags.get(tags.BATCH) == launch.batch),
                         key=lambda each: each.id)  # fmt: skip
            log.warning("order %s was never finished; EC2 shows %d machines of it", launch.batch, len(own))
            if not own:
                await self._buying.discard_template(launch)
                self._launches.forget(launch.batch)
                continue
            bought: list[Bought | None] = [_bought(each) for each in own[: len(launch.claims)]]
            bought += [None] * (len(launch.claims) - len(bought))
            launch = self._launches.advance(launch, "bought", machines=tuple(bought))
            for (uid, _), each in zip(launch.claims, bought, strict=True):
                if each is None:
                    self._launches.release(uid)

    async def _tidy(self, launches: Sequence[Launch], found: Mapping[str, Instance]) -> None:
        """Settle what a killed process had bought, and drop what EC2 shows completely."""
        for launch in launches:
            if self._buying.is_busy(launch.batch):
                continue
            if launch.state == "bought":
                try:
                    launch = await self._buying.carry_out(launch)
                except AwsError as error:
                    log.warning("order %s is not settled: %s", launch.batch, error)
            ids = [each.id for each in launch.machines if each]
            is_shown = all(id_ in found and tags.claim_of(id_, found[id_].tags) is not None for id_ in ids)
            if launch.state == "settled" and (is_shown or not self._is_believed(launch)):
                self._launches.forget(launch.batch)


def _bought(found: Instance) -> Bought:
    raw = found.raw
    return Bought(id=found.id, instance_type=raw["InstanceType"], zone=found.zone, image=raw.get("ImageId", ""))
