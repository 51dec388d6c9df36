"""Purchases: once for a claim, whoever asks how often and whatever is lost on the way."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest

from autonodes.conformance.cutting import STEPS, CutOff
from autonodes.conformance.rig import Fault, Rig, Seed, delete_completely, says_nothing_of_offerings
from autonodes.core import labels
from autonodes.core.errors import AutonodesError
from autonodes.provider import InsufficientCapacityError, ProviderError

_LONG_AGO = 3600.0


class Buying:
    """What `Provider.create` promises."""

    async def test_the_first_candidate_is_bought_and_described(self, rig: Rig) -> None:
        request = await rig.request()
        machine = await rig.provider.create(request)
        wanted, offering = request.candidates[0]
        assert (machine.claim_uid, machine.claim_name) == (request.claim_uid, request.claim_name)
        bought = (machine.instance_type, machine.zone, machine.capacity_type)
        assert bought == (wanted.name, offering.zone, offering.capacity_type)
        assert machine.state in ("pending", "running")
        assert abs(machine.created_at - time.time()) < _LONG_AGO
        assert "://" in machine.provider_id
        assert await rig.count(request.claim_uid) == 1

    async def test_a_machine_has_the_labels_and_the_size_that_were_promised(self, rig: Rig) -> None:
        request = await rig.request()
        machine = await rig.provider.create(request)
        wanted, offering = request.candidates[0]
        assert machine.labels[labels.INSTANCE_TYPE] == wanted.name
        assert machine.labels[labels.ZONE] == offering.zone
        assert machine.labels[labels.CAPACITY_TYPE] == offering.capacity_type
        for key, value in wanted.requirements.labels().items():
            assert machine.labels[key] == value, key
        for name, amount in wanted.allocatable.items():
            assert machine.allocatable[name] >= amount, name
            assert machine.capacity[name] >= machine.allocatable[name], name

    async def test_the_infrastructure_knows_whose_machine_it_is(self, rig: Rig) -> None:
        request = await rig.request()
        tags = await rig.tags(await rig.provider.create(request))
        assert tags["claim-uid"] == request.claim_uid
        assert tags["claim"] == request.claim_name
        assert tags["nodepool"] == request.node_pool
        assert tags["cluster"]

    async def test_a_machine_boots_with_all_that_it_was_given(self, rig: Rig) -> None:
        rig.need(Fault.BOOT_DATA)
        request = await rig.request()
        machine = await rig.provider.create(request)
        assert isinstance(request.bootstrap, Seed)
        settings = request.bootstrap.settings[-1]
        assert settings.provider_id == machine.provider_id
        assert settings.labels.items() <= machine.labels.items()
        found = await rig.boot_files(machine)
        for file in request.bootstrap.boot_plan(settings).files:
            assert found[file.path] == (file.content, file.mode), file.path

    async def test_creating_again_gives_the_same_machine_with_other_candidates_too(self, rig: Rig) -> None:
        request = await rig.request()
        machine = await rig.provider.create(request)
        other = dataclasses.replace(request, candidates=tuple(reversed(request.candidates)))
        for again in (request, other):
            found = await rig.provider.create(again)
            assert found.provider_id == machine.provider_id
            assert found.instance_type == machine.instance_type
        assert await rig.count(request.claim_uid) == 1

    async def test_callers_that_race_buy_one_machine(self, rig: Rig) -> None:
        request = await rig.request()
        first, second = rig.provider, await rig.restart()
        answers = await asyncio.gather(
            *(provider.create(request) for provider in (first, second, first, second)), return_exceptions=True
        )
        machines = [each for each in answers if not isinstance(each, BaseException)]
        assert machines, answers
        assert all(isinstance(each, ProviderError) for each in answers if isinstance(each, BaseException)), answers
        assert len({machine.provider_id for machine in machines}) == 1
        assert await rig.count(request.claim_uid) == 1

    async def test_claims_at_the_same_time_get_a_machine_each(self, rig: Rig) -> None:
        requests = [await rig.request() for _ in range(3)]
        machines = await asyncio.gather(*(rig.provider.create(request) for request in requests))
        assert [machine.claim_uid for machine in machines] == [request.claim_uid for request in requests]
        assert len({machine.provider_id for machine in machines}) == 3

    async def test_a_purchase_that_was_cut_off_anywhere_is_finished_by_the_next_process(self, rig: Rig) -> None:
        for after in STEPS:
            request = await rig.request()
            attempt = CutOff(rig.provider.create(request), after)
            await attempt
            provider = await rig.restart()
            machine = await provider.create(request)
            assert machine.claim_uid == request.claim_uid
            assert await rig.count(request.claim_uid) == 1, f"cut off after {after} waits"
            await delete_completely(provider, machine.provider_id)
            if attempt.finished:
                return

    async def test_what_a_cut_off_purchase_bought_is_listed(self, rig: Rig) -> None:
        for after in STEPS:
            request = await rig.request()
            attempt = CutOff(rig.provider.create(request), after)
            await attempt
            provider = await rig.restart()
            there = await rig.count(request.claim_uid)
            listed = [each for each in await provider.list() if each.claim_uid == request.claim_uid]
            assert len(listed) >= there, f"cut off after {after} waits"
            for machine in listed:
                await delete_completely(provider, machine.provider_id)
            if attempt.finished:
                return

    async def test_an_order_whose_answer_was_lost_is_not_given_twice(self, rig: Rig) -> None:
        rig.need(Fault.LOST_ANSWER)
        request = await rig.request()
        await rig.lose_answer()
        try:
            await rig.provider.create(request)
        except AutonodesError as error:
            says_nothing_of_offerings(error)
        machine = await rig.provider.create(request)
        assert machine.claim_uid == request.claim_uid
        assert await rig.count(request.claim_uid) == 1

    async def test_what_is_sold_out_is_not_bought_and_the_next_candidate_is(self, rig: Rig) -> None:
        if rig.one_stock:
            pytest.skip(f"{rig.provider.name}: all offerings are sold out together")
        request = await rig.request()
        for index, (sold, offering) in enumerate(request.candidates[:-1]):
            await rig.sell_out([(sold.name, offering.zone, offering.capacity_type)])
            again = await rig.request(candidates=request.candidates)
            machine = await rig.provider.create(again)
            following, its_offering = request.candidates[index + 1]
            bought = (machine.instance_type, machine.zone, machine.capacity_type)
            assert bought == (following.name, its_offering.zone, its_offering.capacity_type)

    async def test_without_any_capacity_nothing_is_bought_and_no_type_is_dropped(self, rig: Rig) -> None:
        request = await rig.request()
        before = [each.name for each in await rig.provider.instance_types(rig.node_class)]
        await rig.sell_out(
            [(each.name, offering.zone, offering.capacity_type) for each, offering in request.candidates]
        )
        refused = await rig.request(candidates=request.candidates)
        with pytest.raises(InsufficientCapacityError) as raised:
            await rig.provider.create(refused)
        asked = {(each.name, offering.zone, offering.capacity_type) for each, offering in request.candidates}
        assert set(raised.value.offerings) <= asked
        assert await rig.count(refused.claim_uid) == 0
        assert [each.name for each in await rig.provider.instance_types(rig.node_class)] == before

    async def test_without_a_candidate_nothing_is_bought(self, rig: Rig) -> None:
        request = await rig.request(candidates=())
        with pytest.raises(InsufficientCapacityError):
            await rig.provider.create(request)
        assert await rig.count(request.claim_uid) == 0
