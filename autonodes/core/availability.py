"""What launches have taught about offerings: which are likely to be had, and which are left alone for a while.

An offering is a type in a zone under a capacity type, as one pool buys it: what is refused to one pool (a quota, a
subnet without addresses) says little about another. Each failure makes it rest twice as long as the one before,
and a success makes it as good as new. Failures fade: each counts half after `HALF_LIFE`, so that one that failed
now and then over days does not rest like one that fails every minute.

Nothing that was learned may stop a pool: when all that its provider still offers is resting, whatever has rested for
the shortest rest is offered again, so that one error that was misread holds up a pool for that long at most.

It is kept in memory. A process that starts knows nothing, and learns an offering's state by one failed launch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE, ZONE
from autonodes.core.model import InstanceType, Offering

HALF_LIFE: Final = 1800.0
"""Seconds after which a failure counts half: providers' shortages last from minutes to hours."""


class OfferingKey(NamedTuple):
    pool: str
    instance_type: str
    zone: str
    capacity_type: str


def offering_of(pool: str, labels: Mapping[str, str]) -> OfferingKey | None:
    """What a machine with these labels was bought as; None if they do not say."""
    named = tuple(labels.get(key, "") for key in (INSTANCE_TYPE, ZONE, CAPACITY_TYPE))
    return OfferingKey(pool, *named) if all(named) else None


def withheld(types: Iterable[InstanceType]) -> tuple[InstanceType, ...]:
    """The types, with all their offerings flagged as unavailable."""
    return tuple(
        replace(each, offerings=tuple(replace(offering, available=False) for offering in each.offerings))
        for each in types
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """:param failures: faded, since the last success
    :param successes: faded
    :param at: when both were counted
    :param failed_at: when it last failed
    :param until: when its rest ends
    """

    failures: float = 0.0
    successes: float = 0.0
    at: float = 0.0
    failed_at: float = 0.0
    until: float = 0.0

    def faded(self, now: float) -> Standing:
        """As it counts now."""
        share = 0.5 ** (max(0.0, now - self.at) / HALF_LIFE)
        return replace(self, failures=self.failures * share, successes=self.successes * share, at=now)

    def estimate(self, now: float) -> float:
        """How likely a launch is to succeed, by Laplace's rule: from ½ for what is unknown or long ago."""
        seen = self.faded(now)
        return (seen.successes + 1) / (seen.successes + seen.failures + 2)


class Availability:
    """:param first: seconds of the shortest rest, after a first failure
    :param longest: seconds of the longest one
    """

    def __init__(self, *, first: float = 30.0, longest: float = 1800.0) -> None:
        self._first, self._longest = first, longest
        self._standings: dict[OfferingKey, Standing] = {}

    def failed(self, keys: Iterable[OfferingKey], now: float) -> None:
        """A launch was refused each of them. Launches that were on their way when it last failed teach nothing more."""
        for key in keys:
            before = self.standing(key).faded(now)
            if before.failures and now < before.failed_at + self._first:
                continue
            failures = before.failures + 1
            rest = min(self._longest, self._first * 2 ** (failures - 1))
            self._standings[key] = replace(before, failures=failures, failed_at=now, until=now + rest)

    def succeeded(self, key: OfferingKey, now: float) -> None:
        """A launch got it."""
        before = self.standing(key).faded(now)
        self._standings[key] = Standing(successes=before.successes + 1, at=now)

    def standing(self, key: OfferingKey) -> Standing:
        return self._standings.get(key, Standing())

    def applied(self, pool: str, types: Sequence[InstanceType], now: float) -> tuple[InstanceType, ...]:
        """The types, with the offerings that rest flagged as unavailable. A type that has none is the same object."""
        if not any(key.pool == pool and standing.until > now for key, standing in self._standings.items()):
            return tuple(types)
        offered = [self._key(pool, each, of) for each in types for of in each.offerings if of.available]
        resting = {key for key in offered if self.standing(key).until > now}
        if len(resting) == len(set(offered)):
            resting = {key for key in resting if self.standing(key).failed_at + self._first > now}
        return tuple(self._without(pool, each, resting) for each in types)

    def _without(self, pool: str, instance_type: InstanceType, resting: set[OfferingKey]) -> InstanceType:
        offerings = tuple(
            replace(each, available=False) if self._key(pool, instance_type, each) in resting else each
            for each in instance_type.offerings
        )
        return replace(instance_type, offerings=offerings) if offerings != instance_type.offerings else instance_type

    @staticmethod
    def _key(pool: str, instance_type: InstanceType, offering: Offering) -> OfferingKey:
        return OfferingKey(pool, instance_type.name, offering.zone, offering.capacity_type)
