"""EC2's instance types with their prices, as they stood on one day: for planning without credentials.

The table in ``data/ec2.json.gz`` is made by ``hack/catalogue`` and says what it was made from and when. It has the
on-demand prices of Linux on shared hosts. A type whose price the sources don't have is in the table too, and is never
bought. There are no spot prices in it, so nothing is offered as spot. What a node of a type has, `instancetypes` says.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

import msgspec

from autonodes.core import labels
from autonodes.core.errors import ConfigError
from autonodes.core.model import InstanceType, Offering
from providers.aws.instancetypes import TypeRow, instance_type

DEFAULT_REGION: Final = "us-east-1"

_FORMAT: Final = 1


class _Region(msgspec.Struct, frozen=True):
    """:param offered: type → the letters of its zones
    :param prices: type → dollars an hour; not every type has one
    """

    offered: dict[str, str]
    prices: dict[str, float]


class _Source(msgspec.Struct, frozen=True):
    package: str
    date: str = ""


class _Table(msgspec.Struct, frozen=True):
    format: int
    sources: dict[str, _Source]
    types: dict[str, TypeRow]
    regions: dict[str, _Region]


@dataclass(frozen=True, slots=True)
class Origin:
    """:param date: of the prices, ``2025-03-02``
    :param packages: that the table was made from
    """

    date: str
    packages: tuple[str, ...]


def catalogue(region: str = DEFAULT_REGION) -> tuple[InstanceType, ...]:
    """All types that a region has, by name; the same tuple for the same region.

    :raises ConfigError: the table does not know the region
    """
    return _catalogue(region)


def rows() -> Mapping[str, TypeRow]:
    """What is known of all types, by name."""
    return _table().types


def regions() -> tuple[str, ...]:
    return tuple(sorted(_table().regions))


def origin() -> Origin:
    sources = _table().sources
    return Origin(sources["prices"].date, tuple(sorted(source.package for source in sources.values())))


@lru_cache(maxsize=1)
def _table() -> _Table:
    packed = files("providers.aws").joinpath("data", "ec2.json.gz").read_bytes()
    table = msgspec.json.decode(gzip.decompress(packed), type=_Table)
    assert table.format == _FORMAT, "the table and its reader are of one release"  # noqa: S101
    return table


@lru_cache(maxsize=4)
def _catalogue(region: str) -> tuple[InstanceType, ...]:
    table = _table()
    found = table.regions.get(region)
    if found is None:
        raise ConfigError("region", region, f"not in the built-in catalogue; it has {', '.join(regions())}")
    return tuple(
        instance_type(name, table.types[name], region, _offerings(region, zones, found.prices.get(name)))
        for name, zones in sorted(found.offered.items())
    )


def _offerings(region: str, zones: str, price: float | None) -> tuple[Offering, ...]:
    return tuple(
        Offering(zone=f"{region}{letter}", capacity_type=labels.CAPACITY_ON_DEMAND, price=price) for letter in zones
    )
