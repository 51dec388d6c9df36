"""The table of a claim's life: what may follow what."""

from __future__ import annotations

from itertools import chain, combinations

import pytest

from autonodes.core.lifecycle import TRANSITIONS, IllegalTransitionError, Phase, check, following, legal, phase
from hack.lifecycle import PAGE, drawn

WAY_IN = ("Launched", "Registered", "Initialized")
WAY_OUT = ("Drained", "VolumesDetached", "InstanceTerminating")
ALL = (*WAY_IN, *WAY_OUT)
SUBSETS = [frozenset(each) for each in chain.from_iterable(combinations(ALL, size) for size in range(len(ALL) + 1))]


@pytest.mark.parametrize(
    ("true", "deleting", "expected"),
    [
        ((), False, Phase.PENDING),
        (("Launched",), False, Phase.LAUNCHED),
        (("Launched", "Registered"), False, Phase.REGISTERED),
        (WAY_IN, False, Phase.READY),
        (("Registered",), False, Phase.PENDING),
        ((), True, Phase.TERMINATING),
        (WAY_IN, True, Phase.TERMINATING),
        (("Drained",), True, Phase.DRAINED),
        (("VolumesDetached",), True, Phase.TERMINATING),
        (("Drained", "VolumesDetached"), True, Phase.VOLUMES_DETACHED),
        (("InstanceTerminating",), True, Phase.INSTANCE_TERMINATING),
    ],
)
def test_the_phase_is_as_far_as_the_conditions_lead(true: tuple[str, ...], deleting: bool, expected: Phase) -> None:
    assert phase(true, deleting=deleting) is expected


@pytest.mark.parametrize("deleting", [False, True])
@pytest.mark.parametrize("true", SUBSETS, ids=lambda true: "+".join(sorted(true)) or "none")
def test_from_wherever_a_claim_is_it_can_go_on_and_never_back(true: frozenset[str], deleting: bool) -> None:
    now = phase(true, deleting=deleting)
    assert following(now)
    for condition in ALL:
        if condition in true:
            assert not legal(condition, "False", true, deleting=deleting)
            assert legal(condition, "True", true, deleting=deleting)
        elif legal(condition, "True", true, deleting=deleting):
            after = phase({*true, condition}, deleting=deleting)
            assert list(Phase).index(after) > list(Phase).index(now)


def test_every_phase_can_be_reached_and_every_life_ends() -> None:
    reached, frontier = set(), [Phase.PENDING]
    while frontier:
        here = frontier.pop()
        reached.add(here)
        frontier += [each.target for each in following(here) if each.target not in reached]
    assert reached == set(Phase)
    assert not following(Phase.GONE)
    order = list(Phase)
    assert all(order.index(each.source) < order.index(each.target) for each in TRANSITIONS)


@pytest.mark.parametrize(
    ("condition", "status", "true", "deleting", "expected"),
    [
        ("Registered", "True", (), False, False),
        ("Registered", "Unknown", ("Launched",), False, True),
        ("Launched", "True", (), True, False),
        ("Drained", "True", WAY_IN, False, False),
        ("VolumesDetached", "False", (*WAY_IN, "Drained"), True, True),
        ("InstanceTerminating", "True", (), True, True),
        ("Consolidatable", "True", WAY_IN, False, True),
        ("Consolidatable", "True", ("Launched",), False, False),
        ("Consolidatable", "False", ("Launched",), False, True),
        ("Drifted", "True", ("Launched",), False, True),
        ("Drifted", "True", WAY_IN, True, False),
        ("example.com/Seen", "True", (), True, True),
    ],
)
def test_a_condition_is_set_only_where_the_table_knows_it(
    condition: str, status: str, true: tuple[str, ...], deleting: bool, expected: bool
) -> None:
    assert legal(condition, status, true, deleting=deleting) is expected  # type: ignore[arg-type]


def test_an_illegal_step_says_which_and_where() -> None:
    with pytest.raises(IllegalTransitionError, match="Registered can't be set on a NodeClaim that is Pending"):
        check("Registered", "True", (), deleting=False)


def test_the_page_shows_the_table_as_it_is() -> None:
    page = PAGE.read_text()
    assert page == drawn(page), "run hack/generate"
