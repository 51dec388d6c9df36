"""A controller that dies between any two of its effects: the next one goes on, and no host is lost or used unwiped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from metal_tenant import Tenant
from providers.metal.allocations import Allocations
from providers.metal.hosts import Hosts
from providers.metal.redfish import Redfish
from providers.metal.seeds import Seeds

pytestmark = pytest.mark.integration


class DiedError(Exception):
    pass


class Death:
    """After so many effects the process has none any more, whatever it still tries."""

    def __init__(self) -> None:
        self.left = 10**6
        self.effects = 0

    def due(self) -> None:
        self.effects += 1
        self.left -= 1
        if self.left < 0:
            raise DiedError

    def later(self, effect: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def mortal(*arguments: Any, **named: Any) -> Any:
            self.due()
            return await effect(*arguments, **named)

        return mortal

    def now(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*arguments: Any) -> Any:
            self.due()
            return effect(*arguments)

        return mortal


@pytest.fixture
def death(monkeypatch: pytest.MonkeyPatch) -> Death:
    from autonodes.kube.ledger import Ledger

    made = Death()
    for owner, name in ((Hosts, "write"), (Ledger, "append"), (Allocations, "_write"), (Seeds, "write")):
        monkeypatch.setattr(owner, name, made.later(getattr(owner, name)))
    for name in ("switch", "insert", "boot_once_from", "eject"):
        monkeypatch.setattr(Redfish, name, made.now(getattr(Redfish, name)))
    return made


@pytest.mark.parametrize("after", [1, 5, 9])
async def test_a_host_gets_ready_whenever_the_controller_dies(tenant: Tenant, death: Death, after: int) -> None:
    death.left = after
    host = await tenant.hall.enlist(0)
    await tenant.until(host, lambda status: death.left < 0 or status.get("state") == "Available")
    death.left = 10**6
    await tenant.start()
    await tenant.pass_time(31)
    await tenant.until_in(host, "Available")
    assert [each.event for each in await tenant.chain(host)][:2] == ["registered", "wiped"]


@pytest.mark.parametrize("after", [1, 3, 5])
async def test_a_tenant_is_served_whenever_the_controller_dies(tenant: Tenant, death: Death, after: int) -> None:
    host = await tenant.hall.enlist(0)
    await tenant.until_in(host, "Available")
    machine = await tenant.buy()
    death.left = after
    await tenant.until(host, lambda status: death.left < 0 or status.get("state") == "Provisioned")
    death.left = 10**6
    await tenant.start()
    await tenant.until_in(host, "Provisioned")
    assert [each.claim_uid for each in await tenant.provider.list()] == [machine.claim_uid]
    assert [each.event for each in await tenant.chain(host)] == ["registered", "wiped", "tenant"]


@pytest.mark.parametrize("after", [1, 4, 8])
async def test_a_host_is_wiped_after_its_tenant_whenever_the_controller_dies(
    tenant: Tenant, death: Death, after: int
) -> None:
    host = await tenant.hall.enlist(0)
    await tenant.until_in(host, "Available")
    machine = await tenant.buy()
    await tenant.until_in(host, "Provisioned")
    death.left = after
    try:
        await tenant.give_back(machine)
        await tenant.until(host, lambda status: death.left < 0 or status.get("state") == "Available")
    except DiedError:
        assert death.left < 0
    death.left = 10**6
    await tenant.start()
    await tenant.give_back(machine)
    await tenant.until_in(host, "Available")
    assert await tenant.provider.list() == []
    events = [each.event for each in await tenant.chain(host)]
    assert events[:4] == ["registered", "wiped", "tenant", "released"]
    assert set(events[4:]) == {"wiped"}
