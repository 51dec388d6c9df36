"""Deadlines of a claim, on its way in and on its way out."""

from __future__ import annotations

from typing import Any, cast

import pytest

from autonodes.controllers.liveness import Liveness
from autonodes.controllers.registrationhealth import RegistrationHealth
from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.termination import termination_deadline
from controllers.claimbook import NOW, claim, shown

SETTINGS = ControllerSettings(launch_deadline=300, registration_deadline=900)
LIVENESS = Liveness(cast(Any, None), RegistrationHealth(), cast(Any, None), SETTINGS)


def test_a_launch_has_five_minutes_from_the_claims_creation_whatever_its_phase() -> None:
    deadline = LIVENESS.deadline(claim(created=NOW - 100))
    assert deadline is not None
    assert (deadline.at, deadline.reason) == (NOW + 200, "LaunchTimeout")


def test_a_registration_has_fifteen_minutes_from_the_launch() -> None:
    deadline = LIVENESS.deadline(claim("Launched", since=NOW, created=NOW - 200))
    assert deadline is not None
    assert (deadline.at, deadline.reason) == (NOW + 900, "RegistrationTimeout")


def test_a_registered_node_has_all_the_time() -> None:
    assert LIVENESS.deadline(claim("Launched", "Registered")) is None


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
