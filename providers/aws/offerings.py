"""The types of a node class with their offerings: where and how each can be had, and for how much.

A zone is offered if a subnet is in it; spot is, if it has a price; reserved capacity is, if a reservation is selected,
at next to nothing, for it is paid already. A type without an image of its architecture is listed and not available,
and so is an offering that was refused a moment ago (`autonodes.core.availability`, of the whole account: what EC2 has
not got, it has for no pool).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from autonodes.core import labels
from autonodes.core.availability import Availability, OfferingKey
from autonodes.core.clock import Clock
from autonodes.core.model import InstanceType, Offering
from providers.aws.instancetypes import instance_type
from providers.aws.market import Market, Markets
from providers.aws.selectors import Resolved

RESERVED_SHARE: Final = 1e-7
"""Of the on-demand price: cheaper than everything that is still to be paid, and dearer types stay dearer."""
_REST: Final = 180.0
"""Seconds for which an offering that EC2 had not got is left alone at first."""
_ANY_POOL: Final = ""


class Offerings:
    def __init__(self, markets: Markets, clock: Clock) -> None:
        self._markets, self._clock = markets, clock
        self._availability = Availability(first=_REST)
        self._built: dict[object, tuple[InstanceType, ...]] = {}

    async def of(self, resolved: Resolved) -> tuple[InstanceType, ...]:
        """:raises AwsError: they can't be known"""
        market = await self._markets.get()
        key = (
            *(self._markets.version, resolved.hash, tuple(resolved.images), tuple(resolved.subnets)),
            resolved.reservations,
        )
        if key not in self._built:
            self._built = dict(list(self._built.items())[-7:])
            self._built[key] = tuple(_types(market, resolved))
        return self._availability.applied(_ANY_POOL, self._built[key], self._clock.now())

    def refused(self, offerings: Sequence[tuple[str, str, str]]) -> None:
        """EC2 had not got them: type, zone and capacity type of each."""
        self._availability.failed((OfferingKey(_ANY_POOL, *each) for each in offerings), self._clock.now())

    def had(self, offering: tuple[str, str, str]) -> None:
        """EC2 had it."""
        self._availability.succeeded(OfferingKey(_ANY_POOL, *offering), self._clock.now())


def _types(market: Market, resolved: Resolved) -> Iterator[InstanceType]:
    for name, row in market.types.items():
        offerings = tuple(_offerings(market, resolved, name, has_image=row.arch in resolved.images))
        yield instance_type(name, row, market.region, offerings, resolved.sizing)


def _offerings(market: Market, resolved: Resolved, name: str, *, has_image: bool) -> Iterator[Offering]:
    is_shared = resolved.spec.tenancy == "default"
    price = market.prices.get("Shared" if is_shared else "Dedicated", {}).get(name)
    spot = market.spot.get(name, {}) if is_shared else {}
    for zone in market.zones.get(name, ()):
        if zone not in resolved.subnets:
            continue
        yield Offering(zone=zone, capacity_type=labels.CAPACITY_ON_DEMAND, price=price, available=has_image)
        if zone in spot:
            yield Offering(zone=zone, capacity_type=labels.CAPACITY_SPOT, price=spot[zone], available=has_image)
        for each in resolved.reservations:
            if (each.instance_type, each.zone) == (name, zone):
                yield Offering(
                    zone=zone,
                    capacity_type=labels.CAPACITY_RESERVED,
                    price=None if price is None else price * RESERVED_SHARE,
                    available=has_image and each.free > 0,
                    reservation=each.id,
                    count=each.free,
                )
