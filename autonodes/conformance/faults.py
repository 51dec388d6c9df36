"""Infrastructure that refuses, hangs up or is not there: nothing is concluded from it, and nothing is bought twice."""

from __future__ import annotations

import pytest

from autonodes.conformance.rig import Fault, Rig, says_nothing_of_offerings
from autonodes.core.errors import AutonodesError
from autonodes.provider import MachineNotFoundError

_MOST_TRIES = 10
"""Of a provider's own for one call."""
_FOR_EVER = 1000


class Faults:
    """What all calls promise when the infrastructure does not do its part."""

    async def test_a_moment_of_throttling_costs_no_purchase(self, rig: Rig) -> None:
        rig.need(Fault.THROTTLING)
        request = await rig.request()
        await rig.throttle(1)
        try:
            await rig.provider.create(request)
        except AutonodesError as error:
            says_nothing_of_offerings(error)
        await rig.throttle(0)
        assert (await rig.provider.create(request)).claim_uid == request.claim_uid
        assert await rig.count(request.claim_uid) == 1

    async def test_throttling_that_lasts_ends_in_an_error_after_a_few_tries_further_and_further_apart(
        self, rig: Rig
    ) -> None:
        rig.need(Fault.THROTTLING)
        request = await rig.request()
        seen = []
        for _ in range(2):
            await rig.throttle(_FOR_EVER)
            with pytest.raises(AutonodesError) as raised:
                await rig.provider.create(request)
            says_nothing_of_offerings(raised.value)
            seen.append(tuple(rig.pauses()))
        await rig.throttle(0)
        assert await rig.count(request.claim_uid) == 0
        assert all(len(pauses) < _MOST_TRIES for pauses in seen)
        assert all(pause >= 0 for pauses in seen for pause in pauses)
        if any(seen):
            assert seen[0] != seen[1], "without jitter all clients come back at the same moment"

    async def test_nothing_is_concluded_from_an_outage(self, rig: Rig) -> None:
        rig.need(Fault.OUTAGE)
        machine, refused = await rig.buy(), await rig.request()
        async with rig.outage():
            with pytest.raises(AutonodesError):
                await rig.provider.list()
            for call in (rig.provider.get, rig.provider.delete):
                with pytest.raises(AutonodesError) as raised:
                    await call(machine.provider_id)
                assert not isinstance(raised.value, MachineNotFoundError)
            with pytest.raises(AutonodesError) as launch:
                await rig.provider.create(refused)
            says_nothing_of_offerings(launch.value)
        assert await rig.count(machine.claim_uid) == 1
        assert await rig.count(refused.claim_uid) <= 1
        assert (await rig.provider.create(refused)).claim_uid == refused.claim_uid
        assert await rig.count(refused.claim_uid) == 1

    async def test_a_list_that_breaks_off_is_no_list(self, rig: Rig) -> None:
        rig.need(Fault.BROKEN_LIST)
        requests = [await rig.request() for _ in range(rig.many)]
        for request in requests:
            await rig.provider.create(request)
        await rig.break_list()
        try:
            listed = [each.claim_uid for each in await rig.provider.list()]
        except AutonodesError:
            listed = [each.claim_uid for each in await rig.provider.list()]
        assert sorted(listed) == sorted(request.claim_uid for request in requests)

    async def test_each_fault_that_is_not_shown_here_has_a_reason(self, rig: Rig) -> None:
        assert all(len(reason.split()) > 3 for reason in rig.without.values())
