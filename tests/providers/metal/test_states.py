from __future__ import annotations

import pytest

from providers.metal.states import (
    ATTEMPTS,
    FLAP_WINDOW,
    LEGAL,
    MOST_FLAPS,
    IllegalTransitionError,
    Reset,
    State,
    check,
    is_hopeless,
    recent,
    reset_of,
)


def test_a_host_becomes_available_only_by_being_wiped_or_by_an_older_proof() -> None:
    assert {before for before, after in LEGAL.items() if State.AVAILABLE in after} == {
        State.CLEANING,
        State.INSPECTING,
    }


def test_every_state_can_be_reached_and_left() -> None:
    assert set(LEGAL) == set(State)
    assert all(LEGAL.values())
    assert set().union(*LEGAL.values()) == set(State)


@pytest.mark.parametrize("before", [State.PROVISIONED, State.PROVISIONING, State.QUARANTINED])
def test_a_used_host_does_not_become_available_at_once(before: State) -> None:
    with pytest.raises(IllegalTransitionError):
        check(before, State.AVAILABLE)


def test_each_attempt_is_harder_than_the_one_before() -> None:
    assert [reset_of(attempt) for attempt in (1, 2, 3, 4)] == [Reset.GRACEFUL, Reset.FORCED, Reset.COLD, Reset.COLD]


def test_attempts_are_bounded() -> None:
    assert not is_hopeless(ATTEMPTS - 1, (), 0.0)
    assert is_hopeless(ATTEMPTS, (), 0.0)


def test_a_host_that_fails_again_and_again_is_hopeless_even_if_it_comes_up_in_between() -> None:
    flaps = tuple(float(each) for each in range(MOST_FLAPS))
    assert is_hopeless(1, flaps, 10.0)
    assert not is_hopeless(1, flaps, FLAP_WINDOW + MOST_FLAPS)
    assert recent(flaps, FLAP_WINDOW + 1.0) == flaps[2:]
