"""Instance types and node classes: what can be had, at what price, and what is wrong with a class."""

from __future__ import annotations

import math

import pytest

from autonodes.conformance.rig import Rig
from autonodes.core import labels
from autonodes.provider import NodeClassNotReadyError, ProviderError


class Catalogues:
    """What `Provider.instance_types` and `Provider.validate` promise."""

    async def test_types_have_names_of_their_own_sizes_and_labels(self, rig: Rig) -> None:
        types = await rig.provider.instance_types(rig.node_class)
        names = [each.name for each in types]
        assert names
        assert len(set(names)) == len(names)
        for each in types:
            assert each.capacity["cpu"] > 0, each.name
            assert each.capacity["memory"] > 0, each.name
            assert each.capacity["pods"] > 0, each.name
            assert all(isinstance(amount, int) for amount in each.capacity.values()), each.name
            assert all(0 <= each.allocatable[name] <= amount for name, amount in each.capacity.items()), each.name
            shown = each.requirements.labels()
            assert shown[labels.INSTANCE_TYPE] == each.name
            assert shown[labels.ARCH] in ("amd64", "arm64"), each.name
            assert shown[labels.OS] in ("linux", "windows"), each.name

    async def test_offerings_have_a_price_or_none_and_are_told_apart(self, rig: Rig) -> None:
        types = await rig.provider.instance_types(rig.node_class)
        known = (labels.CAPACITY_SPOT, labels.CAPACITY_ON_DEMAND, labels.CAPACITY_RESERVED)
        for each in types:
            keys = [(offering.zone, offering.capacity_type, offering.reservation) for offering in each.offerings]
            assert len(set(keys)) == len(keys), each.name
            for offering in each.offerings:
                assert offering.zone, each.name
                assert offering.capacity_type in known, each.name
                assert offering.price is None or (offering.price >= 0 and math.isfinite(offering.price)), each.name
        assert len(await rig.candidates()) >= 2

    async def test_the_same_types_come_again_in_the_same_order(self, rig: Rig) -> None:
        first = await rig.provider.instance_types(rig.node_class)
        again = await rig.provider.instance_types(rig.node_class)
        assert [(each.name, each.offerings) for each in first] == [(each.name, each.offerings) for each in again]

    async def test_a_node_class_that_can_be_used_is_found_valid(self, rig: Rig) -> None:
        await rig.provider.validate(rig.node_class)

    async def test_a_node_class_that_cannot_be_used_says_why(self, rig: Rig) -> None:
        cases = rig.unusable()
        assert cases
        for node_class, words in cases:
            with pytest.raises(NodeClassNotReadyError) as validated:
                await rig.provider.validate(node_class)
            assert words in str(validated.value)

    async def test_nothing_is_half_bought_of_a_node_class_that_cannot_be_used(self, rig: Rig) -> None:
        will_do = (await rig.candidates())[:1]
        for node_class, _ in rig.unusable():
            request = await rig.request(node_class=node_class, candidates=will_do)
            try:
                await rig.provider.create(request)
            except ProviderError:
                assert await rig.count(request.claim_uid) == 0
