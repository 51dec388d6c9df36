"""EC2 that misbehaves, and the provider on it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autonodes.core.model import InstanceType, Offering, Taint
from autonodes.provider import LaunchRequest, ProviderContext
from ec2fake import NODE_CLASS, Ec2Fake
from ec2market import built_in_market
from ec2moto import KEY, REGION, SECRET_KEY, Moto, moto_server
from joiner.bootstrap import ClaimBootstrap, ClusterAccess
from providers.aws import AwsProvider

ACCESS = ClusterAccess(server="https://api.example.com:6443", ca=b"a certificate")


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    with moto_server() as running:
        yield running


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What EC2 sells, as the provider keeps it."""
    return built_in_market(tmp_path_factory.mktemp("market") / "market.json")


@pytest.fixture
def fake(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ec2Fake]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    fake = Ec2Fake(moto)
    yield fake
    fake.close()
    assert fake.forbidden == [], "the policy in docs/aws.md does not allow what was called"


@pytest.fixture
async def opened(fake: Ec2Fake, tmp_path: Path, market: Path) -> AsyncIterator[Callable[..., AwsProvider]]:
    """Makes providers of one cluster; each is another process, as far as they know."""
    (tmp_path / "aws").mkdir()
    shutil.copy(market, tmp_path / "aws/market.json")
    made: list[AwsProvider] = []

    def make(clock: Any = None, **options: str) -> AwsProvider:
        context = ProviderContext(
            cluster="demo",
            state_dir=tmp_path,
            component_dirs=(),
            images=(),
            uplink="100.64.0.0/30",
            kube=None,  # type: ignore[arg-type]  # this provider does not ask it
            options={"region": REGION, "endpoint": fake.url} | options,
        )
        made.append(AwsProvider(context, clock=clock))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
def order(market: Path) -> Callable[..., LaunchRequest]:
    """A purchase for a new claim."""

    def make(candidates: tuple[tuple[InstanceType, Offering], ...], **fields: Any) -> LaunchRequest:
        uid = str(uuid.uuid4())
        name = f"default-{uid[:8]}"
        token = f"{uid[:6]}.{uid[-12:]}4444"
        given: dict[str, Any] = {
            "claim_uid": uid,
            "claim_name": name,
            "node_pool": "default",
            "candidates": candidates,
            "node_class": NODE_CLASS,
            "labels": {},
            "taints": (Taint("karpenter.sh/unregistered", "", "NoExecute"),),
            "bootstrap": ClaimBootstrap(node_name=name, token=token, access=ACCESS),
        }
        return LaunchRequest(**given | fields)

    return make


async def offers(
    provider: AwsProvider, *names: str, capacity_type: str = "on-demand", node_class: Any = NODE_CLASS
) -> Any:
    """Every offering of these types, cheapest first."""
    found = [
        (each, offering)
        for each in await provider.instance_types(node_class)
        for offering in each.offerings
        if each.name in names and offering.capacity_type == capacity_type and offering.price is not None
    ]
    return tuple(sorted(found, key=lambda each: (each[1].price, each[0].name, each[1].zone)))
