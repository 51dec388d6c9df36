"""Room that is kept: how much, for what, and that real pods come first."""

from __future__ import annotations

import pytest

from autonodes.core.emptiness import WANTED, empty_nodes
from autonodes.core.headroom import PRIORITY, buffer_size, headroom, is_headroom
from autonodes.core.model import Pod
from autonodes.core.planner import plan
from autonodes.core.shapes import is_planned
from autonodes.core.storage import PodVolume
from core.parts import amounts, machine, pod, pool, ready_node, snapshot

SMALL = machine("small", cpu=2, memory="4Gi", price=0.1)


def room_for(count: int, **fields: object) -> tuple[Pod, ...]:
    shape = pod("shape", **{"cpu": 1, "unschedulable": False, "priority": 7, **fields})  # type: ignore[arg-type]
    return headroom(shape, "shop", "spare", "u1", count)


@pytest.mark.parametrize(
    ("replicas", "percentage", "scale", "limits", "expected"),
    [
        (3, None, None, {}, 3),
        (0, None, None, {}, 0),
        (None, None, None, {}, 0),
        (None, 20, 10, {}, 2),
        (None, 1, 10, {}, 1),
        (None, 25, 10, {}, 3),
        (None, 0, 10, {}, 0),
        (None, 20, 0, {}, 0),
        (None, 20, 0, {"cpu": 8}, 0),
        (5, 20, 10, {}, 5),
        (1, 20, 10, {}, 2),
        (5, None, None, {"cpu": 3}, 3),
        (None, None, None, {"cpu": 3}, 3),
        (None, None, None, {"cpu": 3, "memory": "2Gi"}, 2),
        (2, None, None, {"gpu": 1}, 2),
        (None, None, None, {"gpu": 1}, 0),
    ],
)
def test_the_size_of_a_buffer(
    replicas: int | None, percentage: int | None, scale: int | None, limits: dict[str, str | int], expected: int
) -> None:
    found = buffer_size(
        amounts(cpu=1, memory="1Gi", pods=1),
        replicas=replicas,
        percentage=percentage,
        scale=scale,
        limits=amounts(**limits, capacity=True),  # type: ignore[arg-type]
    )
    assert found == expected


def test_headroom_waits_like_a_pod_of_the_template_and_below_all_others() -> None:
    first, second = room_for(2, gated=True, volumes=(PodVolume("data", "data"),))
    assert is_planned(first)
    assert is_headroom(first)
    assert (first.priority, first.volumes, first.namespace) == (PRIORITY, (), "shop")
    assert first.uid != second.uid
    assert room_for(2, gated=True) == (first, second)


def test_nodes_are_bought_for_headroom() -> None:
    assert [len(each.pods) for each in plan(snapshot(room_for(4), types=(SMALL,))).purchases] == [2, 2]


def test_real_pods_take_the_place_of_headroom() -> None:
    here, behind = ready_node("n1")
    found = plan(
        snapshot([*room_for(2), pod("real", cpu=2, priority=-5)], types=(SMALL,), nodes=[here], claims=[behind])
    )
    assert found.placements == {"real": "n1"}
    assert [set(each.pods) for each in found.purchases] == [{"u1/0", "u1/1"}]


def test_real_pods_come_first_where_limits_bind() -> None:
    limited = pool(limits={"nodes": 1})
    found = plan(snapshot([*room_for(8), pod("real", cpu=2)], types=(SMALL,), pools=[limited]))
    assert [each.pods for each in found.purchases] == [("real",)]


def test_a_node_with_headroom_is_not_empty() -> None:
    here, behind = ready_node("n1")
    spare, its_claim = ready_node("n2")
    given = {"nodes": [here, spare], "claims": [behind, its_claim]}
    codes = {each.node: each.code for each in empty_nodes(snapshot(room_for(2), types=(SMALL,), **given), {})}  # type: ignore[arg-type]
    assert codes["n1"] == WANTED
    assert codes["n2"] != WANTED
