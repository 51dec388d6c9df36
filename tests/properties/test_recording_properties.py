from __future__ import annotations

from hypothesis import given, settings

from autonodes.core.model import Snapshot
from autonodes.core.planner import plan
from autonodes.core.recording import decode, encode
from properties.snapshot_strategies import snapshots


@settings(max_examples=60)
@given(snapshots())
def test_a_recorded_snapshot_is_the_snapshot(snapshot: Snapshot) -> None:
    assert decode(encode(snapshot)) == snapshot


@settings(max_examples=30)
@given(snapshots())
def test_a_recorded_snapshot_gives_the_same_text_and_the_same_plan(snapshot: Snapshot) -> None:
    again = decode(encode(snapshot))
    assert encode(again) == encode(snapshot)
    assert plan(again) == plan(snapshot)
