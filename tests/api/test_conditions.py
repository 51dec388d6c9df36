from __future__ import annotations

import pytest
from pydantic import ValidationError

from autonodes.api.conditions import Condition, find_condition, is_true, remove_condition, set_condition, set_ready

NOW = 1_800_000_000.0


def test_a_new_condition_is_appended_with_the_time() -> None:
    (first,) = set_condition((), "Launched", "True", now=NOW, observed_generation=3)
    assert first.model_dump(mode="json", by_alias=True) == {
        "type": "Launched",
        "status": "True",
        "lastTransitionTime": "2027-01-15T08:00:00Z",
        "reason": "Launched",
        "message": "",
        "observedGeneration": 3,
    }


def test_the_time_moves_only_with_the_status() -> None:
    before = set_condition((), "Ready", "False", now=NOW, reason="Waiting", message="a")
    same = set_condition(before, "Ready", "False", now=NOW + 60, reason="StillWaiting", message="b")
    assert same[0].last_transition_time == before[0].last_transition_time
    assert (same[0].reason, same[0].message) == ("StillWaiting", "b")
    after = set_condition(same, "Ready", "True", now=NOW + 60)
    assert (after[0].last_transition_time - before[0].last_transition_time).total_seconds() == 60


def test_what_did_not_change_is_the_same_object() -> None:
    before = set_condition((), "A", "True", now=NOW)
    after = set_condition(before, "A", "True", now=NOW + 60)
    assert after == before
    assert after[0] is before[0]


def test_conditions_keep_their_order_and_their_neighbours() -> None:
    both = set_condition(set_condition((), "A", "True", now=NOW), "B", "True", now=NOW)
    changed = set_condition(both, "A", "False", now=NOW)
    assert [condition.type for condition in changed] == ["A", "B"]
    assert changed[1] is both[1]
    assert [condition.type for condition in remove_condition(changed, "A")] == ["B"]


def test_a_reason_must_be_one_word() -> None:
    with pytest.raises(ValidationError):
        set_condition((), "A", "False", now=NOW, reason="not one word")


def test_a_missing_condition_is_not_true() -> None:
    assert not is_true((), "A")
    assert find_condition((), "A") is None


def test_the_reason_of_a_type_with_a_domain_is_its_name() -> None:
    assert set_condition((), "example.com/Good", "True", now=NOW)[0].reason == "Good"


@pytest.mark.parametrize(
    ("statuses", "ready", "reason", "message"),
    [
        ({"A": "True", "B": "True"}, "True", "Ready", ""),
        ({"A": "True", "B": "False"}, "False", "UnhealthyDependents", "B=False"),
        ({"A": "Unknown", "B": "False"}, "False", "UnhealthyDependents", "A=Unknown, B=False"),
        ({"A": "True", "B": "Unknown"}, "Unknown", "ReconcilingDependents", "B=Unknown"),
        ({"A": "True"}, "Unknown", "ReconcilingDependents", "B=Unknown"),
    ],
)
def test_ready_is_the_sum_of_its_dependents(statuses: dict[str, str], ready: str, reason: str, message: str) -> None:
    conditions: tuple[Condition, ...] = ()
    for type_, status in statuses.items():
        conditions = set_condition(conditions, type_, status, now=NOW)  # type: ignore[arg-type]
    root = find_condition(set_ready(conditions, ("A", "B"), now=NOW), "Ready")
    assert root is not None
    assert (root.status, root.reason, root.message) == (ready, reason, message)
