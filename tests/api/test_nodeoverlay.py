"""NodeOverlays: what is accepted, and what they become in the model."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from autonodes.api.nodeoverlay import NodeOverlay
from autonodes.core.labels import INSTANCE_TYPE


def overlay(*requirements: dict[str, Any], **spec: Any) -> NodeOverlay:
    body = {"metadata": {"name": "o", "generation": 2}, "spec": {"requirements": list(requirements), **spec}}
    return NodeOverlay.from_api(body)


def test_prices_weight_and_capacity_become_numbers() -> None:
    requirement = {"key": INSTANCE_TYPE, "operator": "In", "values": ["a"]}
    model = overlay(requirement, price="0.25", weight=3, capacity={"example.com/dongle": "2"}).to_model()
    assert (model.name, model.weight, model.price, model.capacity) == ("o", 3, 0.25, {"example.com/dongle": 2})
    assert model.requirements[INSTANCE_TYPE].values == {"a"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+10%", (10.0, 0.0)),
        ("-15.5%", (-15.5, 0.0)),
        ("-100%", (-100.0, 0.0)),
        ("+0.05", (0.0, 0.05)),
        ("-1", (0.0, -1.0)),
    ],
)
def test_an_adjustment_is_in_percent_or_in_dollars(text: str, expected: tuple[float, float]) -> None:
    model = overlay(priceAdjustment=text).to_model()
    assert (model.percent, model.surcharge) == expected
    assert model.price is None


@pytest.mark.parametrize(
    "spec",
    [
        {"price": "1", "priceAdjustment": "+1"},
        {"price": "-1"},
        {"priceAdjustment": "10%"},
        {"priceAdjustment": "-120%"},
        {"capacity": {"cpu": "1"}},
        {"weight": 0},
        {"weight": 10_001},
        {"requirements": [{"key": "a", "operator": "NotIn"}]},
        {"requirements": [{"key": "a", "operator": "Gt", "values": ["x"]}]},
        {"requirements": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        overlay(*spec.pop("requirements", ()), **spec)


def test_an_overlay_applies_once_it_was_judged_as_it_is() -> None:
    def judged(status: str, generation: int) -> NodeOverlay:
        condition = {
            "type": "ValidationSucceeded",
            "status": status,
            "observedGeneration": generation,
            "lastTransitionTime": "2026-01-31T12:00:00Z",
        }
        return NodeOverlay.from_api(
            {
                "metadata": {"name": "o", "generation": 2},
                "spec": {"requirements": []},
                "status": {"conditions": [condition]},
            }
        )

    assert judged("True", 2).applies
    assert not judged("True", 1).applies
    assert not judged("False", 2).applies
    assert not overlay().applies
