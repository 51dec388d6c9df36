"""Deadlines of a claim, on its way in and on its way out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from autonodes.api.nodeclaim import NodeClaim
from autonodes.controllers.liveness import Liveness
from autonodes.controllers.preserving import Preserving
from autonodes.controllers.registrationhealth import RegistrationHealth
from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.termination import termination_deadline
from autonodes.core.availability import Availability
from controllers.claimbook import NOW, claim, pool, shown

SETTINGS = ControllerSettings(launch_deadline=300, registration_deadline=900, initialization_deadline=600)


def deadline(claim: NodeClaim, **annotations: str) -> tuple[float, str] | None:
    shown = {f"autonodes.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    known = pool()
    known.metadata.annotations.update(shown)
    nobody, state = cast(Any, None), cast(Any, SimpleNamespace(nodepools={known.name: known}, nodes={}))
    preserving = Preserving(nobody, state, nobody, nobody, nobody)
    liveness = Liveness(nobody, state, RegistrationHealth(), Availability(), preserving, nobody, SETTINGS.deadlines)
    found = liveness.deadline(claim)
    return None if found is None else (found.at, found.reason)


def test_a_launch_has_five_minutes_from_the_claims_creation_whatever_its_conditions() -> None:
    assert deadline(claim(created=NOW - 100)) == (NOW + 200, "LaunchTimeout")
    assert deadline(claim("Registered", created=NOW - 100)) == (NOW + 200, "LaunchTimeout")


def test_a_registration_has_fifteen_minutes_from_the_launch() -> None:
    assert deadline(claim("Launched", since=NOW, created=NOW - 200)) == (NOW + 900, "RegistrationTimeout")


def test_an_initialization_has_its_time_from_the_registration() -> None:
    registered = claim("Launched", "Registered", since=NOW, created=NOW - 200)
    assert deadline(registered) == (NOW + 600, "InitializationTimeout")


def test_a_ready_node_has_all_the_time() -> None:
    assert deadline(claim("Launched", "Registered", "Initialized")) is None


def test_a_preserved_node_is_given_up_when_that_is_over() -> None:
    kept = {"autonodes.io/preserve-until": shown(NOW + 7200)}
    assert deadline(claim("Launched", since=NOW, annotations=kept)) == (NOW + 7200, "RegistrationTimeout")


def test_a_pool_sets_its_own_deadlines_and_a_bad_one_counts_as_none() -> None:
    launched = claim("Launched", since=NOW)
    assert deadline(launched, registration_timeout="1h") == (NOW + 3600, "RegistrationTimeout")
    assert deadline(launched, registration_timeout="soon") == (NOW + 900, "RegistrationTimeout")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"deleted": NOW}, None),
        ({"terminationGracePeriod": "1h"}, None),
        ({"deleted": NOW, "terminationGracePeriod": "1h"}, NOW + 3600),
        ({"deleted": NOW, "annotations": {"karpenter.sh/nodeclaim-termination-timestamp": shown(NOW + 60)}}, NOW + 60),
        (
            {
                "deleted": NOW,
                "terminationGracePeriod": "1h",
                "annotations": {"karpenter.sh/nodeclaim-termination-timestamp": shown(NOW + 60)},
            },
            NOW + 60,
        ),
        ({"deleted": NOW, "annotations": {"karpenter.sh/nodeclaim-termination-timestamp": "soon"}}, None),
    ],
)
def test_a_drain_ends_when_its_grace_period_does_or_when_the_annotation_says(
    given: dict[str, Any], expected: float | None
) -> None:
    assert termination_deadline(claim("Launched", **given)) == expected


@pytest.mark.parametrize(
    ("outcomes", "healthy"),
    [
        ([], None),
        ([True], True),
        ([False], True),
        ([False, False], False),
        ([False, True, False, True], False),
        ([False, False, True, True, True, True], True),
    ],
)
def test_a_pool_is_unhealthy_when_half_of_its_last_four_machines_did_not_join(
    outcomes: list[bool], healthy: bool | None
) -> None:
    health = RegistrationHealth()
    for joined in outcomes:
        health.record("default", joined=joined)
    assert health.healthy("default") is healthy
    health.start_afresh("default")
    assert health.healthy("default") is None
