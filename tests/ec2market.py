"""What the fake EC2 sells: the built-in table's types and prices, and spot prices made from them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from autonodes.core.model import InstanceType
from ec2moto import REGION, ZONES
from providers.aws.catalogue import catalogue, rows
from providers.aws.market import Market


def spot_price(instance_type: InstanceType, zone: str) -> float:
    """Between 30% and 60% of the on-demand price, another one in each zone, always the same."""
    drawn = hashlib.sha256(f"{instance_type.name}{zone}".encode()).digest()[0] / 255
    return round((instance_type.offerings[0].price or 0.0) * (0.3 + 0.3 * drawn), 6)


def types_on_sale() -> Mapping[str, InstanceType]:
    if not _KNOWN:
        _KNOWN.update({each.name: each for each in catalogue(REGION)})
    return _KNOWN


_KNOWN: dict[str, InstanceType] = {}


def product(name: str, price: float, tenancy: str) -> dict[str, Any]:
    """As much of the price list's product as counts, and some of the rest."""
    rate = {"unit": "Hrs", "description": f"${price} per On Demand Linux", "pricePerUnit": {"USD": f"{price:.10f}"}}
    return {
        "product": {"productFamily": "Compute Instance", "sku": name, "attributes": {
            "instanceType": name, "tenancy": tenancy, "operatingSystem": "Linux", "regionCode": REGION}},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {f"{name}.JRTC": {"priceDimensions": {f"{name}.JRTC.6YS6": rate}}}},
    }  # fmt: skip


def built_in_market(path: Path) -> Path:
    """The market of the fake, written as the provider's cache has it: most tests need not ask for it."""
    prices = {name: price for name, each in types_on_sale().items() if (price := each.offerings[0].price) is not None}
    now = time.time()
    market = Market(
        region=REGION,
        types={name: rows()[name] for name in types_on_sale()},
        zones={name: [zone for zone in ZONES if zone in _zones(each)] for name, each in types_on_sale().items()},
        prices={"Shared": prices, "Dedicated": {name: 1.06 * price for name, price in prices.items()}},
        spot={name: {zone: spot_price(types_on_sale()[name], zone) for zone in ZONES} for name in prices},
        asked={"types": now, "prices": now, "spot": now},
    )
    path.write_bytes(msgspec.json.encode(market))
    return path


def _zones(instance_type: InstanceType) -> set[str]:
    return {offering.zone for offering in instance_type.offerings}
