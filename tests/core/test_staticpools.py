"""How many claims a static pool lacks, and which go when there are too many."""

from __future__ import annotations

from typing import Any

import pytest

from autonodes.core.emptiness import empty_nodes
from autonodes.core.labels import DO_NOT_DISRUPT
from autonodes.core.model import Claim
from autonodes.core.staticpools import missing, surplus
from core.parts import claim, pool, ready_node, running, snapshot


def there(name: str, **fields: Any) -> Claim:
    return claim(name, **{"node_name": name, **fields})


@pytest.mark.parametrize(
    ("present", "leaving", "limits", "expected"),
    [
        (0, 0, {}, 3),
        (2, 0, {}, 1),
        (3, 0, {}, 0),
        (5, 0, {}, 0),
        (1, 2, {}, 2),
        (1, 0, {"nodes": 2}, 1),
        (1, 1, {"nodes": 2}, 0),
        (0, 0, {"nodes": 0}, 0),
        (1, 1, {"nodes": 9}, 2),
    ],
)
def test_what_is_missing_is_counted_within_the_limit(
    present: int, leaving: int, limits: dict[str, int], expected: int
) -> None:
    claims = [there(f"c{number}") for number in range(present)]
    claims += [there(f"l{number}", deleted_at=1.0) for number in range(leaving)]
    assert missing(pool(limits=limits), claims, 3) == expected


def test_what_is_being_replaced_is_neither_missing_nor_too_many() -> None:
    claims = [there("old"), there("new", launched=False), there("other")]
    assert missing(pool(), claims, 2, {"old"}) == 0
    assert surplus(claims, 2, {}, 1000.0, {"old"}) == ()
    assert [each.name for each in surplus(claims, 1, {}, 1000.0, {"old"})] == ["new"]
    assert missing(pool(limits={"nodes": 3}), claims, 3, {"old"}) == 0


def test_what_has_least_to_lose_goes_first() -> None:
    claims = [
        there("busy"),
        there("protected", annotations={DO_NOT_DISRUPT: "true"}),
        there("old", created_at=1.0),
        there("young", created_at=2.0),
        there("leaving", deleted_at=5.0),
        there("waiting", launched=False),
        there("held"),
    ]
    pods_on = {
        "busy": [running("a", "busy"), running("b", "busy")],
        "old": [running("d", "old", owner_kind="DaemonSet")],
        "held": [running("c", "held", annotations={DO_NOT_DISRUPT: "true"})],
    }
    order = [each.name for each in surplus(claims, 0, pods_on, 1000.0)]
    assert order == ["waiting", "young", "old", "busy", "protected", "held"]
    assert [each.name for each in surplus(claims, 4, pods_on, 1000.0)] == ["waiting", "young"]
    assert surplus(claims, 6, pods_on, 1000.0) == ()


def test_an_empty_node_of_a_static_pool_is_kept() -> None:
    node, behind = ready_node("n1")
    (verdict,) = empty_nodes(snapshot(nodes=[node], claims=[behind], pools=[]), {})
    assert not verdict.removable
    assert "static" in verdict.text
