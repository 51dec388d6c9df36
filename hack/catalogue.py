"""Makes the built-in EC2 catalogue from the data files of apache-libcloud (prices) and moto (types and zones).

Usage: hack/catalogue.py SITE_PACKAGES OUTPUT; `hack/catalogue` installs the packages and calls it.

Prices are those of Linux on shared hosts, on demand. A price of 0 means that the source has none, and it is left out.

The source sometimes lists a dedicated host's price, which is 6% or 10% higher. That shows where two prices should agree
and don't: per GiB among the sizes of a family (families with accelerators aside), and between the three regions of the
United States that share one price list. Then the lower one is right, and is taken. Where there is no witness the price
stays as it is, up to 10% too high.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

from providers.aws.described import architecture, plain_row

FORMAT: Final = 1
ONE_PRICE_LIST: Final = ("us-east-1", "us-east-2", "us-west-2")
SURCHARGE: Final = (1.05, 1.105)
"""Between these factors above its witness, a price is a dedicated host's."""

Prices = dict[str, dict[str, float]]
"""Region → type → dollars an hour."""


def main(packages: Path, output: Path) -> None:
    types = {name: each for name, each in _described(packages).items() if architecture(each)}
    prices = _without_surcharges(_listed(packages, types), types)
    zones = {region: _zones(packages, region, types) for region in sorted(prices)}
    document = {
        "format": FORMAT,
        "sources": _sources(packages),
        "types": {name: plain_row(types[name]) for name in sorted(types)},
        "regions": {
            region: {"offered": offered, "prices": {name: prices[region][name] for name in sorted(prices[region])}}
            for region, offered in zones.items()
            if offered
        },
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    output.write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
    priced = {region: len(prices[region]) for region in document["regions"]}
    print(f"{output}: {len(types)} types, {output.stat().st_size} bytes; priced: {priced}")


def _described(packages: Path) -> dict[str, Any]:
    found: dict[str, Any] = _unpacked(packages / "moto/ec2/resources/instance_types.json.gz")
    return found


def _unpacked(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def _listed(packages: Path, types: Mapping[str, Any]) -> Prices:
    prices: Prices = defaultdict(dict)
    by_type = _pricing(packages)["compute"]["ec2_linux"]
    for name in types:
        for region, price in by_type.get(name, {}).items():
            if price > 0:
                prices[region][name] = price
    return prices


def _pricing(packages: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((packages / "libcloud/data/pricing.json").read_bytes())
    return found


def _without_surcharges(prices: Prices, types: Mapping[str, Any]) -> Prices:
    first = {
        region: {name: _unless_dedicated(price, _siblings(name, listed, types)) for name, price in listed.items()}
        for region, listed in prices.items()
    }
    return {
        region: {
            name: _unless_dedicated(price, _same_list(name, region, first)) for name, price in first[region].items()
        }
        for region in first
    }


def _unless_dedicated(price: float, witnesses: Iterator[float]) -> float:
    lowest = min(witnesses, default=price)
    return round(lowest, 6) if SURCHARGE[0] <= price / lowest <= SURCHARGE[1] else price


def _siblings(name: str, listed: Mapping[str, float], types: Mapping[str, Any]) -> Iterator[float]:
    """What the type would cost at the price per GiB of each size of its family with as much memory per vCPU."""
    if _accelerated(types[name]):
        return
    memory, family = _memory(types[name]), name.partition(".")[0]
    for other, price in listed.items():
        if other.partition(".")[0] == family and _shape(types[other]) == _shape(types[name]):
            yield price * memory / _memory(types[other])


def _same_list(name: str, region: str, prices: Prices) -> Iterator[float]:
    if region in ONE_PRICE_LIST:
        yield from (prices[other][name] for other in ONE_PRICE_LIST if name in prices[other])


def _accelerated(described: Mapping[str, Any]) -> bool:
    kinds = ("GpuInfo", "NeuronInfo", "InferenceAcceleratorInfo", "FpgaInfo", "MediaAcceleratorInfo")
    return any(kind in described for kind in kinds)


def _memory(described: Mapping[str, Any]) -> int:
    return int(described["MemoryInfo"]["SizeInMiB"])


def _shape(described: Mapping[str, Any]) -> float:
    return _memory(described) / int(described["VCpuInfo"]["DefaultVCpus"])


def _zones(packages: Path, region: str, types: Mapping[str, Any]) -> dict[str, str]:
    """Type → the letters of its zones; empty where the source does not know the region."""
    path = packages / f"moto/ec2/resources/instance_type_offerings/availability-zone/{region}.json.gz"
    found: dict[str, set[str]] = defaultdict(set)
    for each in _unpacked(path) if path.exists() else ():
        if each["InstanceType"] in types and each["Location"][:-1] == region:
            found[each["InstanceType"]].add(each["Location"][-1])
    return {name: "".join(sorted(found[name])) for name in sorted(found)}


def _sources(packages: Path) -> dict[str, Any]:
    versions = {each.name: each.version for each in distributions(path=[str(packages)])}
    return {
        "prices": {
            "package": f"apache-libcloud {versions['apache-libcloud']}",
            "date": _day(_pricing(packages)["updated"]),
        },
        "types": {"package": f"moto {versions['moto']}"},
    }


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
