"""Machines with GPUs: bought for pods that ask for one, in the size that costs least, and counted while they start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autonodes.core.labels import INITIALIZED, NODE_POOL, ZONE
from autonodes.core.model import InstanceType, Plan, Pod
from autonodes.core.planner import plan
from autonodes.core.sharing import GPU_REPLICAS, MIG_CONFIG, shared
from core.parts import GPU, amounts, claim, machine, node, pod, pods, pool, ready_node, snapshot

PLAIN = machine("plain", cpu=4, memory="16Gi", price=0.2)
ONE = machine("gpu-1", cpu=8, memory="32Gi", gpu=1, price=1.0)
FOUR = machine("gpu-4", cpu=32, memory="128Gi", gpu=4, price=4.5)
EIGHT = machine("gpu-8", cpu=96, memory="512Gi", gpu=8, price=7.0)


def bought(found: Plan) -> list[str]:
    return sorted(purchase.candidates[0][0] for purchase in found.purchases)


def asking(name: str, resource: str) -> Pod:
    plain = pod(name, cpu=1)
    return replace(plain, requests={**plain.requests, resource: 1})


@pytest.mark.parametrize(
    ("types", "waiting", "expected"),
    [
        ((ONE, FOUR), pods("a", 2, cpu=1, gpu=1), ["gpu-1", "gpu-1"]),
        ((ONE, FOUR, EIGHT), pods("a", 8, cpu=1, gpu=1), ["gpu-8"]),
        ((ONE, FOUR, EIGHT), pods("a", 9, cpu=1, gpu=1), ["gpu-1", "gpu-8"]),
        ((ONE, FOUR, EIGHT), pods("a", 1, cpu=1, gpu=2), ["gpu-4"]),
        ((FOUR,), pods("a", 2, cpu=1, gpu=1), ["gpu-4"]),
        ((ONE, FOUR), [*pods("a", 1, cpu=1, gpu=4), *pods("b", 1, cpu=1, gpu=1)], ["gpu-1", "gpu-4"]),
    ],
)
def test_the_sizes_that_cost_least_are_bought(
    types: tuple[InstanceType, ...], waiting: list[Pod], expected: list[str]
) -> None:
    found = plan(snapshot(waiting, types=types))
    assert bought(found) == expected
    assert not found.unplaced


def test_no_gpu_is_bought_for_a_pod_that_asks_for_none_even_where_it_is_cheaper() -> None:
    bargain = machine("bargain", cpu=64, memory="256Gi", gpu=1, price=0.01)
    found = plan(snapshot(pods("a", 4, cpu=1), types=[PLAIN, bargain]))
    assert bought(found) == ["plain"]
    assert all(name != "bargain" for purchase in found.purchases for name, *_ in purchase.candidates)


def test_a_gpu_is_bought_where_nothing_else_can_hold_the_pod() -> None:
    found = plan(snapshot([pod("large", cpu=20)], types=[PLAIN, ONE, FOUR]))
    assert bought(found) == ["gpu-4"]


def test_pods_without_a_request_use_the_room_beside_those_with_one() -> None:
    found = plan(snapshot([*pods("gpu", 1, cpu=1, gpu=1), *pods("plain", 2, cpu=1)], types=[PLAIN, ONE]))
    assert bought(found) == ["gpu-1"]
    assert len(found.purchases[0].pods) == 3


def test_one_vendor_is_not_taken_for_another() -> None:
    amd = InstanceType(
        name="amd", requirements=ONE.requirements, overhead={}, offerings=PLAIN.offerings,
        capacity={**amounts(8, "32Gi", pods=110), "amd.com/gpu": 1},
    )  # fmt: skip
    found = plan(snapshot([asking("a", "amd.com/gpu"), *pods("b", 1, gpu=1)], types=[ONE, amd]))
    assert bought(found) == ["amd", "gpu-1"]


def test_mig_instances_are_known_before_the_node_exists() -> None:
    cut = shared(EIGHT, {MIG_CONFIG: "all-1g.5gb"})
    waiting = [asking(f"a-{number:02}", "nvidia.com/mig-1g.5gb") for number in range(56)]
    found = plan(snapshot(waiting, types=[PLAIN, cut]))
    assert bought(found) == ["gpu-8"]
    assert not found.unplaced


def test_replicas_of_time_sliced_gpus_are_known_before_the_node_exists() -> None:
    """A card that is shown four times holds four pods."""
    sliced = shared(ONE, {GPU_REPLICAS: "4"})
    found = plan(snapshot(pods("a", 8, cpu="100m", gpu=1), types=[PLAIN, sliced]))
    assert bought(found) == ["gpu-1", "gpu-1"]
    assert sorted(len(each.pods) for each in found.purchases) == [4, 4]
    whole = plan(snapshot(pods("a", 8, cpu="100m", gpu=1), types=[PLAIN, ONE]))
    assert len(whole.purchases) == 8


def test_whole_gpus_are_not_found_on_a_machine_that_is_cut() -> None:
    found = plan(snapshot(pods("a", 1, gpu=1), types=[shared(EIGHT, {MIG_CONFIG: "all-1g.5gb"})]))
    assert found.purchases == ()


def test_a_node_whose_gpus_have_not_shown_up_keeps_its_claims_promise() -> None:
    labels = {NODE_POOL: "default", ZONE: "z1"}
    starting = node("n", cpu=8, labels=labels)
    behind = claim("n", node_name="n", registered=True, allocatable=amounts(8, "4Gi", gpu=1, pods=110))
    found = plan(snapshot(pods("a", 1, gpu=1), types=[ONE], nodes=[starting], claims=[behind]))
    assert found.purchases == ()
    assert list(found.placements.values()) == ["n"]


def test_a_zero_from_the_device_plugin_of_a_starting_node_is_not_the_last_word() -> None:
    starting = node("n", cpu=8, labels={NODE_POOL: "default"}, allocatable={**amounts(8, "4Gi", pods=110), GPU: 0})
    behind = claim("n", node_name="n", registered=True, allocatable=amounts(8, "4Gi", gpu=1, pods=110))
    found = plan(snapshot(pods("a", 1, gpu=1), types=[ONE], nodes=[starting], claims=[behind]))
    assert found.purchases == ()


def test_an_initialized_node_that_lost_its_gpus_keeps_no_promise() -> None:
    broken, behind = ready_node("n", cpu=8, labels={INITIALIZED: "true"})
    found = plan(snapshot(pods("a", 1, gpu=1), types=[ONE], nodes=[broken], claims=[behind]))
    assert bought(found) == ["gpu-1"]


def test_gpus_in_flight_are_counted_once_for_each_pod() -> None:
    flying = [claim(f"c{number}", cpu=8, allocatable=amounts(8, "32Gi", gpu=1, pods=110)) for number in range(2)]
    found = plan(snapshot(pods("a", 3, cpu=1, gpu=1), types=[ONE], claims=flying))
    assert len(found.purchases) == 1


def test_a_limit_on_gpus_holds() -> None:
    found = plan(snapshot(pods("a", 4, gpu=1), types=[ONE], pools=[pool(limits={GPU: 2})]))
    assert len(found.purchases) == 2
    assert len(found.unplaced) == 2
