from __future__ import annotations

import pytest

from autonodes.core.deadlines import Deadlines, of_pool

DEFAULTS = Deadlines(launch=300, registration=900, initialization=900)


def test_a_pool_without_annotations_has_the_defaults() -> None:
    assert of_pool({}, DEFAULTS) == (DEFAULTS, ())


def test_a_pool_says_how_long_each_phase_may_take() -> None:
    annotations = {
        "autonodes.io/launch-timeout": "90s",
        "autonodes.io/registration-timeout": "1h",
        "autonodes.io/initialization-timeout": "45m",
    }
    assert of_pool(annotations, DEFAULTS) == (Deadlines(launch=90, registration=3600, initialization=2700), ())


@pytest.mark.parametrize("text", ["soon", "0s", "-5m", "Never", "", "2d"])
def test_what_is_no_deadline_is_told_and_the_rest_holds(text: str) -> None:
    annotations = {"autonodes.io/launch-timeout": text, "autonodes.io/registration-timeout": "1h"}
    deadlines, faults = of_pool(annotations, DEFAULTS)
    assert deadlines == Deadlines(launch=300, registration=3600, initialization=900)
    (fault,) = faults
    assert fault.path == 'metadata.annotations["autonodes.io/launch-timeout"]'
    assert fault.value == text
    assert fault.remedy
