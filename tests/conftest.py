"""What holds for all tests: no property test fails because this machine is busy.

In CI the examples are always the same, so that a change is judged by what it changes; a developer's run draws others.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "busy-machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("busy-machine")
