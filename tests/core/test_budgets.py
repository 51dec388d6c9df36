import pytest

from autonodes.core.budgets import allowances, allowed, is_active
from autonodes.core.errors import ConfigError, ScheduleError
from autonodes.core.model import Budget
from core.parts import pool, ready_node, snapshot

MIDNIGHT = 1_700_006_400.0  # Wednesday, 15 November 2023, 00:00 UTC


@pytest.mark.parametrize(
    ("nodes", "total", "expected"),
    [
        ("10%", 1, 1),
        ("10%", 10, 1),
        ("10%", 11, 2),
        ("0%", 10, 0),
        ("0", 10, 0),
        ("3", 10, 3),
        ("30", 10, 10),
        ("100%", 0, 0),
    ],
)
def test_a_percentage_is_rounded_up_and_no_more_than_all_nodes_go(nodes: str, total: int, expected: int) -> None:
    assert allowed(pool(budgets=(Budget(nodes=nodes),)), total, "Empty", MIDNIGHT) == expected


def test_the_smallest_budget_for_the_reason_counts() -> None:
    budgets = (
        Budget(nodes="5"),
        Budget(nodes="2", reasons=("Empty", "Drifted")),
        Budget(nodes="1", reasons=("Underutilized",)),
    )
    assert allowed(pool(budgets=budgets), 10, "Empty", MIDNIGHT) == 2
    assert allowed(pool(budgets=budgets), 10, "Underutilized", MIDNIGHT) == 1
    assert allowed(pool(budgets=()), 10, "Empty", MIDNIGHT) == 10


@pytest.mark.parametrize(
    ("now", "active"),
    [
        (MIDNIGHT - 1, False),
        (MIDNIGHT, True),
        (MIDNIGHT + 3600, True),
        (MIDNIGHT + 8 * 3600 - 1, True),
        (MIDNIGHT + 8 * 3600, False),
    ],
)
def test_a_schedule_opens_a_window(now: float, active: bool) -> None:
    assert is_active(Budget(nodes="0", schedule="@daily", duration=8 * 3600.0), now) == active


def test_what_can_not_be_read_is_an_error_and_not_a_permission() -> None:
    with pytest.raises(ConfigError, match="number or a percentage"):
        allowed(pool(budgets=(Budget(nodes="-1"),)), 10, "Empty", MIDNIGHT)
    with pytest.raises(ScheduleError):
        is_active(Budget(schedule="never", duration=60.0), MIDNIGHT)


def test_nodes_that_are_leaving_or_not_ready_use_the_budget_up() -> None:
    pairs = [ready_node(f"n{number}") for number in range(8)]
    pairs += [ready_node("sick", ready=False), ready_node("leaving", deleted_at=1.0)]
    cluster = snapshot(
        pools=[pool(budgets=(Budget(nodes="30%"),))], nodes=[n for n, _ in pairs], claims=[c for _, c in pairs]
    )
    assert allowances(cluster, "Empty") == {"default": 1}
