"""What a region sells: types, the zones that have them, on-demand and spot prices; from the APIs, kept on disk.

Each of the three parts has its age after which it is asked for again: types and zones a day, on-demand prices half a
day, spot prices ten minutes. What is old is still answered from while it is asked for in the background, so that a
plan never waits for a list of a thousand types, and goes on for a while when the API does not answer; only a start
without a cache waits. The price list may be refused to these credentials: then the built-in table's on-demand prices
are taken, if it knows the region.

The file is a cache and nothing else: a torn or foreign one is dropped.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from autonodes.core.clock import Clock
from autonodes.core.errors import ConfigError
from providers.aws import catalogue
from providers.aws.calls import Calls
from providers.aws.described import architecture, type_row
from providers.aws.faults import AwsError, Fault
from providers.aws.instancetypes import TypeRow

log = logging.getLogger(__name__)

_FORMAT: Final = 1
_PAGE: Final = 100
_AGES: Final = {"types": 86400.0, "prices": 43200.0, "spot": 600.0}
"""Seconds."""
_RETRY: Final = 60.0
"""Seconds after a refresh that failed."""
_PRODUCT: Final = "Linux/UNIX"
_TENANCIES: Final = ("Shared", "Dedicated")


class Market(msgspec.Struct, kw_only=True):
    """:param types: by name; those that Linux does not run on are left out
    :param zones: type → its zones
    :param prices: tenancy (``Shared``, ``Dedicated``) → type → dollars an hour, on demand
    :param spot: type → zone → dollars an hour
    :param asked: part → when it was asked for, seconds since the epoch
    :param dated: of the on-demand prices, where they are the built-in table's
    """

    format: int = _FORMAT
    region: str
    types: dict[str, TypeRow] = msgspec.field(default_factory=dict)
    zones: dict[str, list[str]] = msgspec.field(default_factory=dict)
    prices: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    spot: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    asked: dict[str, float] = msgspec.field(default_factory=dict)
    dated: str = ""


class Markets:
    """The one market of a region.

    :param path: the file that it is kept in
    """

    def __init__(self, calls: Calls, clock: Clock, path: Path) -> None:
        self._calls, self._clock, self._path = calls, clock, path
        self._market: Market | None = None
        self._lock = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None
        self._not_before = 0.0

    @property
    def version(self) -> tuple[float, ...]:
        """Changes with the content."""
        return tuple(self._market.asked.get(part, 0.0) for part in _AGES) if self._market else ()

    async def get(self) -> Market:
        """:raises AwsError: nothing is known, and can't be known now"""
        if self._market is None or not self._is_complete():
            async with self._lock:
                self._market = self._market or await asyncio.to_thread(self._read) or Market(region=self._calls.region)
                if not self._is_complete():
                    await self._refresh(self._market)
        if self._stale() and self._refreshing is None and self._clock.now() >= self._not_before:
            self._refreshing = asyncio.create_task(self._refresh_in_background(self._market))
        return self._market

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)

    def _is_complete(self) -> bool:
        return self._market is not None and self._market.asked.keys() >= _AGES.keys()

    def _stale(self) -> list[str]:
        now = self._clock.now()
        asked = self._market.asked if self._market else {}
        return [part for part, age in _AGES.items() if now >= asked.get(part, float("-inf")) + age]

    async def _refresh_in_background(self, market: Market) -> None:
        try:
            await self._refresh(market)
        except AwsError as error:
            self._not_before = self._clock.now() + _RETRY
            log.warning("prices and types are not known anew, the last ones are used: %s", error)
        finally:
            self._refreshing = None

    async def _refresh(self, market: Market) -> None:
        parts: Mapping[str, Callable[[Market], Awaitable[None]]] = {
            "types": self._ask_types,
            "prices": self._ask_prices,
            "spot": self._ask_spot,
        }
        stale, now = self._stale(), self._clock.now()
        await asyncio.gather(*(parts[part](market) for part in stale))
        market.asked.update(dict.fromkeys(stale, now))
        await asyncio.to_thread(self._write, market)

    async def _ask_types(self, market: Market) -> None:
        described, offered = await asyncio.gather(
            self._calls.items("ec2", "DescribeInstanceTypes", "InstanceTypes", MaxResults=_PAGE),
            self._calls.items(
                *("ec2", "DescribeInstanceTypeOfferings", "InstanceTypeOfferings"),
                LocationType="availability-zone",
                MaxResults=1000,
            ),
        )
        zones: dict[str, set[str]] = defaultdict(set)
        for each in offered:
            zones[each["InstanceType"]].add(each["Location"])
        market.types = dict(sorted(_rows(described)))
        market.zones = {name: sorted(found) for name, found in sorted(zones.items())}

    async def _ask_prices(self, market: Market) -> None:
        try:
            shared, dedicated = await asyncio.gather(*map(self._listed, _TENANCIES))
        except AwsError as error:
            built_in = _built_in(market.region)
            if error.fault is not Fault.DENIED or not built_in:
                raise
            log.warning("the price list is refused, prices of %s are used: %s", catalogue.origin().date, error)
            market.prices, market.dated = {"Shared": built_in}, catalogue.origin().date
        else:
            market.prices, market.dated = {"Shared": shared, "Dedicated": dedicated}, ""

    async def _listed(self, tenancy: str) -> dict[str, float]:
        """Linux on demand, without any other software, not reserved."""
        asked = {
            **{"regionCode": self._calls.region, "operatingSystem": "Linux", "tenancy": tenancy},
            **{"preInstalledSw": "NA", "capacitystatus": "Used", "productFamily": "Compute Instance"},
        }
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in asked.items()]
        prices: dict[str, float] = {}
        products = self._calls.pages(
            "pricing", "GetProducts", ServiceCode="AmazonEC2", Filters=filters, MaxResults=_PAGE
        )
        async for page in products:
            prices.update(_price(json.loads(product)) for product in page["PriceList"])
        return {name: price for name, price in sorted(prices.items()) if price > 0}

    async def _ask_spot(self, market: Market) -> None:
        prices: dict[str, dict[str, tuple[Any, float]]] = defaultdict(dict)
        rows = await self._calls.items(
            *("ec2", "DescribeSpotPriceHistory", "SpotPriceHistory"),
            StartTime=self._clock.now(),  # the price in force now is in the answer
            ProductDescriptions=[_PRODUCT],
            MaxResults=1000,
        )
        for each in rows:
            name, zone, at, price = each["InstanceType"], each["AvailabilityZone"], each["Timestamp"], each["SpotPrice"]
            known = prices[name].get(zone)
            if float(price) > 0 and (known is None or known[0] < at):
                prices[name][zone] = (at, float(price))
        market.spot = {
            name: {zone: price for zone, (_, price) in sorted(found.items())} for name, found in sorted(prices.items())
        }

    def _read(self) -> Market | None:
        try:
            market = msgspec.json.decode(self._path.read_bytes(), type=Market)
        except (OSError, msgspec.DecodeError):
            return None
        return market if (market.format, market.region) == (_FORMAT, self._calls.region) else None

    def _write(self, market: Market) -> None:
        aside = self._path.with_suffix(".new")
        aside.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside.write_bytes(msgspec.json.encode(market))
        aside.replace(self._path)


def _rows(described: list[Any]) -> list[tuple[str, TypeRow]]:
    found = []
    for each in described:
        try:
            if architecture(each):
                found.append((str(each["InstanceType"]), type_row(each)))
        except (KeyError, ValueError) as error:  # one that is unlike all others must not hide them
            log.warning("instance type %s is left out, its description can't be read: %r", each, error)
    return found


def _price(product: Mapping[str, Any]) -> tuple[str, float]:
    """Type and dollars an hour."""
    rates = [
        float(dimension["pricePerUnit"].get("USD", 0))
        for term in product["terms"].get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
    ]
    return product["product"]["attributes"]["instanceType"], max(rates, default=0.0)


def _built_in(region: str) -> dict[str, float]:
    try:
        types = catalogue.catalogue(region)
    except ConfigError:
        return {}
    return {each.name: price for each in types for price in [each.offerings[0].price] if price is not None}
