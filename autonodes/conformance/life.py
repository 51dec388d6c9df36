"""Machines that are there: found again, complete, judged by their node class, announced when they go."""

from __future__ import annotations

import asyncio
import re

from autonodes.conformance.rig import Fault, Rig, delete_completely
from autonodes.provider import Machine

_CAMEL_CASE = re.compile(r"[A-Z][A-Za-z0-9]+")


class Life:
    """What `get`, `list`, `is_drifted`, `repair_policies` and `interruptions` promise."""

    async def test_get_and_list_tell_the_same(self, rig: Rig) -> None:
        machine = await rig.buy()
        (listed,) = await rig.provider.list()
        found = await rig.provider.get(machine.provider_id)
        assert _identity(listed) == _identity(found) == _identity(machine)

    async def test_a_list_is_complete_however_long_it_is(self, rig: Rig) -> None:
        requests = [await rig.request() for _ in range(rig.many)]
        await asyncio.gather(*(rig.provider.create(request) for request in requests))
        listed = [each.claim_uid for each in await rig.provider.list()]
        assert sorted(listed) == sorted(request.claim_uid for request in requests)

    async def test_a_restarted_controller_finds_its_machines_and_goes_on_with_them(self, rig: Rig) -> None:
        requests = [await rig.request(), await rig.request()]
        machines = [await rig.provider.create(request) for request in requests]
        provider = await rig.restart()
        listed = sorted(await provider.list(), key=lambda each: each.provider_id)
        assert [_identity(each) for each in listed] == sorted(map(_identity, machines))
        assert _identity(await provider.create(requests[0])) == _identity(machines[0])
        await delete_completely(provider, machines[1].provider_id)
        assert [each.claim_uid for each in await provider.list()] == [requests[0].claim_uid]

    async def test_a_new_machine_has_not_drifted(self, rig: Rig) -> None:
        machine = await rig.buy()
        assert await rig.provider.is_drifted(machine, rig.node_class) is None

    async def test_a_machine_drifts_when_its_node_class_asks_for_another(self, rig: Rig) -> None:
        machine = await rig.buy()
        cases = rig.drifts()
        assert cases
        for case in cases:
            assert await rig.provider.is_drifted(machine, case.node_class) == case.reason
            assert _CAMEL_CASE.fullmatch(case.reason)

    async def test_nothing_drifts_because_it_is_sold_out(self, rig: Rig) -> None:
        request = await rig.request()
        machine = await rig.provider.create(request)
        await rig.sell_out(
            [(each.name, offering.zone, offering.capacity_type) for each, offering in request.candidates]
        )
        assert await rig.provider.is_drifted(machine, rig.node_class) is None

    async def test_a_node_that_is_not_ready_for_long_is_to_be_repaired(self, rig: Rig) -> None:
        policies = rig.provider.repair_policies()
        assert {("Ready", "False"), ("Ready", "Unknown")} <= {
            (each.condition_type, each.condition_status) for each in policies
        }
        assert all(each.condition_status in ("True", "False", "Unknown") for each in policies)
        assert all(each.toleration > 0 for each in policies)

    async def test_nobody_announces_what_does_not_happen(self, rig: Rig) -> None:
        await rig.buy()
        assert list(await rig.provider.interruptions()) == []

    async def test_a_notice_is_in_force_until_its_machine_is_gone(self, rig: Rig) -> None:
        rig.need(Fault.NOTICE)
        machine, other = await rig.buy(), await rig.buy()
        await rig.announce_loss(machine)
        for provider in (rig.provider, rig.provider, await rig.restart()):
            assert {each.provider_id for each in await provider.interruptions()} == {machine.provider_id}
        await delete_completely(rig.provider, machine.provider_id)
        assert list(await rig.provider.interruptions()) == []
        assert await rig.count(other.claim_uid) == 1


def _identity(machine: Machine) -> tuple[str, ...]:
    return (
        *(machine.provider_id, machine.claim_uid, machine.claim_name),
        *(machine.instance_type, machine.zone, machine.capacity_type),
    )
