"""A seed is a schedule, and schedules hold everything that can go wrong."""

from __future__ import annotations

import random

from autonodes.verify.arena import schedule
from autonodes.verify.faults import KINDS, draw
from autonodes.verify.mishaps import Mishaps


def test_a_seed_always_gives_the_same_schedule_in_the_order_of_time() -> None:
    first = schedule(7, count=50)
    assert first == schedule(7, count=50)
    assert first != schedule(8, count=50)
    assert [fault.at for fault in first] == sorted(fault.at for fault in first)


def test_each_kind_is_drawn() -> None:
    drawn = draw(random.Random(0), count=2000, seconds=600.0)  # noqa: S311 -- not a secret
    assert {fault.kind for fault in drawn} == set(KINDS)


def test_a_fault_says_what_happens() -> None:
    for fault in draw(random.Random(1), count=500, seconds=600.0):  # noqa: S311 -- not a secret
        assert "{" not in str(fault)


def test_each_kind_befalls_a_call_of_the_provider_or_is_carried_out_by_the_world() -> None:
    of_calls = {"throttled", "slow", "sold-out", "lost-reply", "bought-twice", "stale-list", "not-deleted", "said-gone"}
    carried_out = {kind for kind in KINDS if hasattr(Mishaps, f"_{kind.replace('-', '_')}")}
    assert of_calls | carried_out == set(KINDS)
    assert not of_calls & carried_out
