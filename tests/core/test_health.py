"""Which broken nodes are replaced, and how many at a time."""

from __future__ import annotations

import pytest

from autonodes.core.health import Ailment, ailment, replaceable
from autonodes.core.model import Node, NodeCondition

NOW = 10_000.0
TOLERANCES = (("Ready", "False", 600.0), ("Ready", "Unknown", 600.0), ("KernelDeadlock", "True", 60.0))


def node(*conditions: tuple[str, str, float]) -> Node:
    return Node(name="n", conditions=tuple(NodeCondition(*each) for each in conditions))


def sick(name: str, pool: str = "default", *, status: str = "False", due: float = NOW) -> Ailment:
    return Ailment(node=name, pool=pool, condition="Ready", status=status, since=due - 600, due=due)


def names(ailments: list[Ailment]) -> list[str]:
    return [each.node for each in ailments]


def test_a_condition_ails_a_node_as_the_provider_says() -> None:
    assert ailment(node(("Ready", "True", 0)), "default", TOLERANCES) is None
    found = ailment(node(("Ready", "Unknown", 100.0)), "default", TOLERANCES)
    assert found is not None
    assert (found.condition, found.status, found.since, found.due) == ("Ready", "Unknown", 100.0, 700.0)


def test_of_several_ailments_the_one_that_is_due_first_counts() -> None:
    found = ailment(node(("Ready", "False", 100.0), ("KernelDeadlock", "True", 200.0)), "default", TOLERANCES)
    assert found is not None
    assert (found.condition, found.due) == ("KernelDeadlock", 260.0)


def test_what_is_tolerated_still_is_left_alone() -> None:
    assert not replaceable([sick("a", due=NOW + 1)], NOW, sizes={"default": 10}, leaving={}, unknown=0)


@pytest.mark.parametrize(("size", "replaced"), [(1, 1), (3, 1), (9, 1), (10, 2), (50, 10)])
def test_a_fifth_of_a_pool_is_replaced_at_a_time_and_at_least_one(size: int, replaced: int) -> None:
    broken = [sick(f"n{number:02}") for number in range(size)]
    assert len(replaceable(broken, NOW, sizes={"default": size}, leaving={}, unknown=0)) == replaced
    left = replaceable(broken[1:], NOW, sizes={"default": size}, leaving={"default": 1}, unknown=0)
    assert len(left) == replaced - 1


def test_one_pools_trouble_does_not_hold_up_another() -> None:
    broken = [sick("a1", "a"), sick("a2", "a"), sick("b1", "b")]
    assert names(replaceable(broken, NOW, sizes={"a": 2, "b": 2}, leaving={}, unknown=0)) == ["a1", "b1"]


def test_of_silent_nodes_one_at_a_time_is_replaced_whatever_its_pool() -> None:
    broken = [sick("a", "a", status="Unknown"), sick("b", "b", status="Unknown"), sick("c", "c")]
    sizes = {"a": 100, "b": 100, "c": 100}
    assert names(replaceable(broken, NOW, sizes=sizes, leaving={}, unknown=0)) == ["a", "c"]
    assert names(replaceable(broken, NOW, sizes=sizes, leaving={"a": 1}, unknown=1)) == ["c"]


def test_the_longest_overdue_goes_first() -> None:
    broken = [sick("a", due=NOW - 1), sick("b", due=NOW - 9)]
    assert names(replaceable(broken, NOW, sizes={"default": 5}, leaving={}, unknown=0)) == ["b"]
