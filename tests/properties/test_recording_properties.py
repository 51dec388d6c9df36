from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from autonodes.core.disruption import Circumstances, decide
from autonodes.core.model import Snapshot
from autonodes.core.narration import narrate
from autonodes.core.planner import plan
from autonodes.core.podbudgets import DisruptionBudget
from autonodes.core.recording import Recording, decode, encode
from autonodes.core.requirements import Requirements
from properties.snapshot_strategies import snapshots


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    snapshot = draw(snapshots())
    events = {node.name: draw(st.floats(0, snapshot.now)) for node in snapshot.nodes}
    claims = [claim.name for claim in snapshot.claims]
    some = st.frozensets(st.sampled_from(claims)) if claims else st.just(frozenset())
    guard = DisruptionBudget(namespace="default", name="guard", selector=Requirements.from_labels({"app": "a"}))
    facts = Circumstances(
        pod_events=events, drifted=draw(some), busy=draw(some), budgets=draw(st.sampled_from([(), (guard,)]))
    )
    return Recording(snapshot=snapshot, facts=facts, left_out=draw(st.sampled_from([{}, {"gpu": "no answer"}])))


def log(recording: Recording) -> list[str]:
    snapshot: Snapshot = recording.snapshot
    decided = decide(snapshot, recording.facts)
    return [decision.line() for decision in narrate(snapshot, plan(snapshot), decided)]


@settings(max_examples=60)
@given(recordings())
def test_what_is_read_back_is_what_was_recorded(recording: Recording) -> None:
    assert decode(encode(recording)) == recording


@settings(max_examples=30)
@given(recordings())
def test_what_is_read_back_gives_the_same_text_and_the_same_decisions(recording: Recording) -> None:
    again = decode(encode(recording))
    assert encode(again) == encode(recording)
    assert log(again) == log(recording)
