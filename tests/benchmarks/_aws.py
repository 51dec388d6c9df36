"""AWS' rows of ``hack/bench providers``: the provider against moto's server, over HTTP through the fault proxy.

The price list, spot prices and the pages of types are the proxy's (moto has none, and lists types in two seconds), made
before the clock starts. CPU seconds are those of this process: provider and proxy together, without moto.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from autonodes.provider import LaunchRequest, ProviderContext
from ec2fake import NODE_CLASS, Ec2Fake
from ec2moto import KEY, REGION, SECRET_KEY, moto_server
from joiner.bootstrap import ClaimBootstrap, ClusterAccess
from providers.aws import AwsProvider

NODES: Final = 500
_ACCESS: Final = ClusterAccess(server="https://api.example.com:6443", ca=bytes(900))


def rows() -> Iterator[Mapping[str, Any]]:
    """Types listed cold and from the cache, then a purchase."""
    os.environ.update(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
    with moto_server() as moto, tempfile.TemporaryDirectory() as directory:
        moto.instance_types()
        fake = Ec2Fake(moto, clusters=None)
        try:
            yield from asyncio.run(_measure(fake, Path(directory)))
        finally:
            fake.close()


async def _measure(fake: Ec2Fake, directory: Path) -> list[Mapping[str, Any]]:
    provider = _provider(fake, directory)
    found = [await _list(fake, provider, "aws types, cold")]
    await provider.close()
    provider = _provider(fake, directory)
    found.append(await _list(fake, provider, "aws types, from the cache"))
    found.append(await _list(fake, provider, "aws types, again"))
    found.append(await _buy(fake, provider))
    await provider.close()
    return found


def _provider(fake: Ec2Fake, directory: Path) -> AwsProvider:
    return AwsProvider(
        ProviderContext(
            cluster="bench",
            state_dir=directory,
            component_dirs=(),
            images=(),
            uplink="100.64.0.0/30",
            kube=None,  # type: ignore[arg-type]  # this provider does not ask it
            options={"region": REGION, "endpoint": fake.url},
        )
    )


async def _list(fake: Ec2Fake, provider: AwsProvider, name: str) -> Mapping[str, Any]:
    before, cpu, clock = len(fake.calls), time.process_time(), time.perf_counter()
    types = await provider.instance_types(NODE_CLASS)
    return _row(name, len(types), len(fake.calls) - before, clock, cpu)


async def _buy(fake: Ec2Fake, provider: AwsProvider) -> Mapping[str, Any]:
    types = await provider.instance_types(NODE_CLASS)
    candidates = sorted(
        ((each, offering) for each in types for offering in each.offerings
         if offering.available and offering.price is not None and each.capacity["cpu"] >= 4000),
        key=lambda each: (each[1].price, each[0].name, each[1].zone),
    )  # fmt: skip
    requests = [_request(tuple(candidates)) for _ in range(NODES)]
    before, cpu, clock = len(fake.calls), time.process_time(), time.perf_counter()
    machines = await asyncio.gather(*map(provider.create, requests))
    row = _row(
        "aws machines bought", len({each.provider_id for each in machines}), len(fake.calls) - before, clock, cpu
    )
    living = len(fake.living())
    if living != NODES:
        raise AssertionError(f"{living} machines live after {NODES} were bought")
    return row


def _request(candidates: tuple[Any, ...]) -> LaunchRequest:
    uid = str(uuid.uuid4())
    name = f"default-{uid[:5]}"
    token = f"{uid[:6]}.{uid[-12:]}0000"
    return LaunchRequest(
        claim_uid=uid,
        claim_name=name,
        node_pool="default",
        candidates=candidates,
        node_class=NODE_CLASS,
        labels={},
        taints=(),
        bootstrap=ClaimBootstrap(node_name=name, token=token, access=_ACCESS),
    )


def _row(what: str, count: int, calls: int, clock: float, cpu: float) -> Mapping[str, Any]:
    return {
        "what": what,
        "count": count,
        "api_calls": calls,
        "api_calls_a_hundred": 100 * calls / count,
        "seconds": time.perf_counter() - clock,
        "cpu_s": time.process_time() - cpu,
    }
