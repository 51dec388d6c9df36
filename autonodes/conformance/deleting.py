"""Deletion: repeated until nothing is left, and of nothing that is somebody else's."""

from __future__ import annotations

import asyncio

import pytest

from autonodes.conformance.cutting import STEPS, CutOff
from autonodes.conformance.rig import Rig, delete_completely
from autonodes.provider import MachineNotFoundError, ProviderError, ProviderID


class Deleting:
    """What `Provider.delete` promises."""

    async def test_a_deleted_machine_is_gone_for_good(self, rig: Rig) -> None:
        machine = await rig.buy()
        await delete_completely(rig.provider, machine.provider_id)
        for _ in range(2):
            with pytest.raises(MachineNotFoundError):
                await rig.provider.delete(machine.provider_id)
        with pytest.raises(MachineNotFoundError):
            await rig.provider.get(machine.provider_id)
        assert machine.provider_id not in {each.provider_id for each in await rig.provider.list()}
        assert await rig.count(machine.claim_uid) == 0

    async def test_others_stay_when_one_is_deleted(self, rig: Rig) -> None:
        kept, deleted = await rig.buy(), await rig.buy()
        await delete_completely(rig.provider, deleted.provider_id)
        assert await rig.count(kept.claim_uid) == 1
        assert (await rig.provider.get(kept.provider_id)).claim_uid == kept.claim_uid

    async def test_deletions_at_the_same_time_agree(self, rig: Rig) -> None:
        machine = await rig.buy()
        both = (rig.provider, await rig.restart())
        answers = await asyncio.gather(
            *(provider.delete(machine.provider_id) for provider in both * 2), return_exceptions=True
        )
        assert all(answer is None or isinstance(answer, ProviderError) for answer in answers), answers
        await delete_completely(rig.provider, machine.provider_id)
        assert await rig.count(machine.claim_uid) == 0

    async def test_a_deletion_that_was_cut_off_anywhere_is_finished_by_the_next_process(self, rig: Rig) -> None:
        for after in STEPS:
            machine = await rig.buy()
            attempt = CutOff(_deletion(rig, machine.provider_id), after)
            await attempt
            provider = await rig.restart()
            await delete_completely(provider, machine.provider_id)
            assert await rig.count(machine.claim_uid) == 0, f"cut off after {after} waits"
            if attempt.finished:
                return

    async def test_a_machine_on_its_way_out_does_not_come_back(self, rig: Rig) -> None:
        request = await rig.request()
        machine = await rig.provider.create(request)
        await CutOff(_deletion(rig, machine.provider_id), 3)
        await rig.restart()
        try:
            state = (await rig.provider.get(machine.provider_id)).state
        except MachineNotFoundError:
            return
        if state != "terminating":
            return  # it was cut off before it had begun
        try:
            assert (await rig.provider.create(request)).state == "terminating"
        except ProviderError:
            assert await rig.count(request.claim_uid) == 0

    async def test_what_never_was_is_not_found(self, rig: Rig) -> None:
        machine = await rig.buy()
        absent = [f"{machine.provider_id}0", f"other://{machine.provider_id}", "", "x", f"{machine.provider_id}/.."]
        for each in absent:
            with pytest.raises(MachineNotFoundError):
                await rig.provider.get(ProviderID(each))
            with pytest.raises(MachineNotFoundError):
                await rig.provider.delete(ProviderID(each))
        assert await rig.count(machine.claim_uid) == 1

    async def test_machines_of_another_cluster_are_neither_seen_nor_deleted(self, rig: Rig) -> None:
        machine = await rig.buy()
        stranger = await rig.stranger()
        try:
            assert await stranger.list() == []
            with pytest.raises(MachineNotFoundError):
                await stranger.get(machine.provider_id)
            with pytest.raises(MachineNotFoundError):
                await stranger.delete(machine.provider_id)
        finally:
            await stranger.close()
        assert await rig.count(machine.claim_uid) == 1


async def _deletion(rig: Rig, provider_id: ProviderID) -> None:
    await delete_completely(rig.provider, provider_id)
