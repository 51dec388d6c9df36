from __future__ import annotations

import pytest

from autonodes.core.preservation import preserved_until

KEY = "autonodes.io/preserve-until"


@pytest.mark.parametrize("text", ["2030-01-31T18:00:00Z", "2030-01-31T19:00:00+01:00", "2030-01-31T18:00:00.000Z"])
def test_a_moment_counts_wherever_it_was_written(text: str) -> None:
    assert preserved_until({KEY: text}) == (1896112800.0, ())


def test_the_later_of_claim_and_node_counts() -> None:
    claim, node = {KEY: "2030-01-31T18:00:00Z"}, {KEY: "2030-01-31T18:10:00Z"}
    assert preserved_until(claim, node) == preserved_until(node, claim) == (1896112800.0 + 600, ())
    assert preserved_until(claim, {}) == (1896112800.0, ())


@pytest.mark.parametrize("text", ["", "tomorrow", "2h", "2030-01-31T18:00:00", "2030-13-01T00:00:00Z"])
def test_what_is_no_moment_preserves_nothing_and_is_told(text: str) -> None:
    until, (fault,) = preserved_until({KEY: text})
    assert until == 0
    assert (fault.value, KEY in fault.path) == (text, True)


def test_nothing_is_preserved_by_itself() -> None:
    assert preserved_until({}, {"other": "2030-01-31T18:00:00Z"}) == (0.0, ())
