"""CEL selectors on devices, as Kubernetes' documentation writes them."""

from __future__ import annotations

import pytest

from autonodes.core.devices import Attribute, Device
from autonodes.core.deviceselector import SelectorError, check, matches, unbound
from autonodes.core.semver import Version

H100 = Device(
    driver="gpu.nvidia.com",
    attributes={
        "productName": Attribute("NVIDIA H100"),
        "other.io/count": Attribute(3),
        "ok": Attribute(True),
        "driverVersion": Attribute("550.1.0", version=True),
        "tags": Attribute(("a", "b")),
    },
    capacity={"memory": "80Gi"},
)
OWN = 'device.attributes["gpu.nvidia.com"]'
MEMORY = 'device.capacity["gpu.nvidia.com"].memory'


@pytest.mark.parametrize(
    "expression",
    [
        'device.driver == "gpu.nvidia.com"',
        f'{OWN}.productName == "NVIDIA H100" && {MEMORY}.compareTo(quantity("40Gi")) >= 0',
        f'{MEMORY}.isGreaterThan(quantity("79Gi")) && {MEMORY}.isLessThan(quantity("81Gi"))',
        f'{MEMORY} == quantity("80Gi") && {MEMORY}.asInteger() == 85899345920',
        'device.attributes["other.io"].count >= 2',
        f"{OWN}.ok",
        f'{OWN}.driverVersion.compareTo(semver("550.0.1")) > 0',
        f'{OWN}.driverVersion.isLessThan(semver("560.0.0-rc.1"))',
        f'{OWN}.productName.lowerAscii().matches("^.*h100.*$")',
        f"has({OWN}.ok) && !has({OWN}.nothing)",
        f'{OWN}.tags.exists(tag, tag == "b") && {OWN}.tags.includes("a")',
        f'cel.bind(own, {OWN}, own.ok && own.productName.startsWith("NVIDIA"))',
        'isQuantity("1Gi") && !isQuantity("one") && isSemver("1.2.3") && !isSemver("1.2")',
        'device.driver in ["gpu.nvidia.com", "gpu.amd.com"]',
    ],
)
def test_a_device_that_meets_a_selector_is_found(expression: str) -> None:
    assert matches(expression, H100)


@pytest.mark.parametrize(
    "expression",
    [
        'device.driver == "other"',
        '"none.io" in device.attributes',
        'has(device.attributes["none.io"].model)',
        'device.driver == "other" && device.attributes["none.io"].model == 1',
        f'{MEMORY}.compareTo(quantity("100Gi")) >= 0',
        f'{OWN}.driverVersion.isGreaterThan(semver("560.0.0"))',
    ],
)
def test_a_device_that_does_not_meet_a_selector_is_not(expression: str) -> None:
    assert not matches(expression, H100)


@pytest.mark.parametrize(
    "expression",
    [
        'device.attributes["none.io"].model == 1',
        f"{OWN}.nothing",
        'device.attributes["other.io"].count == "3"',
        'semver("one") == semver("1.0.0")',
        "device.nothing",
        "unknown(1)",
        "1",
    ],
)
def test_what_can_not_be_evaluated_is_an_error_and_no_answer(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        matches(expression, H100)


def test_what_does_not_compile_is_named() -> None:
    with pytest.raises(SelectorError) as caught:
        check('device.driver == "a" &&')
    assert caught.value.value == 'device.driver == "a" &&'


def test_a_binding_is_rewritten_where_it_is_one() -> None:
    assert unbound("cel.bind(a, f(1, 2), a > 1) && b") == "[f(1, 2)].map(a, a > 1)[0] && b"
    assert unbound('x == "cel.bind(a, b, c)"') == 'x == "cel.bind(a, b, c)"'
    assert unbound("cel.bind(a, b") == "cel.bind(a, b"


def test_versions_are_ordered_by_precedence() -> None:
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.10.0"]
    assert sorted(map(Version, reversed(ordered))) == list(map(Version, ordered))
    assert Version("1.0.0+build") == Version("1.0.0")
