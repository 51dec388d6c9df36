"""The page of the metrics says what is served."""

from __future__ import annotations

import re

import pytest

from autonodes.controllers.series import SERIES
from hack import metrics as page


def test_the_documented_table_is_that_of_the_controller() -> None:
    text = page.PAGE.read_text()
    assert page.written(text) == text, "run hack/generate"


@pytest.mark.parametrize("name", SERIES)
def test_names_end_in_what_they_count(name: str) -> None:
    """Prometheus' conventions: https://prometheus.io/docs/practices/naming/"""
    series = SERIES[name]
    assert re.fullmatch(r"karpenter_[a-z_]+[a-z]", name)
    assert name.endswith("_total") == (series.kind == "counter")
    assert series.kind != "histogram" or (name.endswith("_seconds") and list(series.buckets) == sorted(series.buckets))
