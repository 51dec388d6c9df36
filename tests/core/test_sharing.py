"""What a machine offers when its GPUs are cut or shared."""

from __future__ import annotations

import pytest

from autonodes.core.errors import ConfigError
from autonodes.core.model import InstanceType
from autonodes.core.sharing import GPU_MEMORY, GPU_REPLICAS, MIG_CONFIG, SHARING_STRATEGY, shared
from core.parts import machine

A100 = machine("a100", f"{GPU_MEMORY} In 40960", cpu=96, gpu=8, price=32.0)
UNKNOWN = machine("gpu", cpu=96, gpu=8, price=32.0)


def units(instance_type: InstanceType) -> dict[str, int]:
    return {name: amount for name, amount in instance_type.capacity.items() if name.startswith("nvidia.com/")}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({MIG_CONFIG: "all-1g.5gb"}, {"nvidia.com/mig-1g.5gb": 56}),
        ({MIG_CONFIG: "all-1g.10gb"}, {"nvidia.com/mig-1g.10gb": 32}),
        ({MIG_CONFIG: "all-3g.20gb"}, {"nvidia.com/mig-3g.20gb": 16}),
        (
            {MIG_CONFIG: "all-balanced"},
            {"nvidia.com/mig-1g.5gb": 16, "nvidia.com/mig-2g.10gb": 8, "nvidia.com/mig-3g.20gb": 8},
        ),
        ({MIG_CONFIG: "all-disabled"}, {"nvidia.com/gpu": 8}),
        ({GPU_REPLICAS: "4"}, {"nvidia.com/gpu": 32}),
        ({GPU_REPLICAS: "4", SHARING_STRATEGY: "renamed"}, {"nvidia.com/gpu.shared": 32}),
        ({MIG_CONFIG: "all-1g.5gb", GPU_REPLICAS: "2"}, {"nvidia.com/mig-1g.5gb": 112}),
    ],
)
def test_labels_decide_what_a_node_will_show(labels: dict[str, str], expected: dict[str, int]) -> None:
    assert units(shared(A100, labels)) == expected


def test_everything_else_stays() -> None:
    cut = shared(A100, {MIG_CONFIG: "all-7g.40gb"})
    assert cut.capacity["cpu"] == A100.capacity["cpu"]
    assert cut.offerings == A100.offerings


@pytest.mark.parametrize("labels", [{}, {"zone": "a"}, {SHARING_STRATEGY: "renamed"}])
def test_without_a_label_about_it_nothing_changes(labels: dict[str, str]) -> None:
    assert shared(A100, labels) is A100


def test_a_machine_without_gpus_stays_what_it_is() -> None:
    plain = machine("plain")
    assert shared(plain, {MIG_CONFIG: "all-1g.5gb"}) is plain


def test_the_type_itself_may_say_how_it_is_shared() -> None:
    own = machine("own", f"{GPU_REPLICAS} In 2", gpu=1)
    assert units(shared(own, {})) == {"nvidia.com/gpu": 2}


def test_a_profile_of_one_kind_of_gpu_needs_no_memory() -> None:
    assert units(shared(UNKNOWN, {MIG_CONFIG: "all-1g.5gb"})) == {"nvidia.com/mig-1g.5gb": 56}


def test_a_profile_that_two_kinds_of_gpus_have_differently_is_not_guessed() -> None:
    with pytest.raises(ConfigError, match="means different things") as caught:
        shared(UNKNOWN, {MIG_CONFIG: "all-1g.10gb"})
    assert caught.value.value == "all-1g.10gb"


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ({MIG_CONFIG: "mine"}, MIG_CONFIG),
        ({MIG_CONFIG: "1g.5gb"}, MIG_CONFIG),
        ({MIG_CONFIG: "all-1g.80gb"}, MIG_CONFIG),
        ({MIG_CONFIG: "all-1g.5gb", GPU_MEMORY: "40GB"}, GPU_MEMORY),
        ({GPU_REPLICAS: "0"}, GPU_REPLICAS),
        ({GPU_REPLICAS: "two"}, GPU_REPLICAS),
    ],
)
def test_what_makes_no_sense_is_named(labels: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shared(A100, labels)
    assert caught.value.path == f"labels[{named}]"
