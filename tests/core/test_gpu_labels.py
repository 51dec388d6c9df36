from __future__ import annotations

import pytest

from autonodes.core.gpus import gpu_labels


def test_a_node_shows_its_gpus_as_feature_discovery_would() -> None:
    assert gpu_labels("NVIDIA-A100-SXM4-40GB", 8, 40 * 2**30) == {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB",
        "nvidia.com/gpu.count": "8",
        "nvidia.com/gpu.memory": "40960",
        "nvidia.com/gpu.family": "ampere",
    }


@pytest.mark.parametrize(
    ("product", "family"),
    [("NVIDIA-H100-80GB-HBM3", "hopper"), ("Tesla-V100-SXM2-16GB", "volta"), ("NVIDIA-L4", "ada-lovelace")],
)
def test_the_architecture_follows_from_the_model(product: str, family: str) -> None:
    assert gpu_labels(product, 1, 0)["nvidia.com/gpu.family"] == family


def test_what_is_not_known_is_not_shown() -> None:
    assert gpu_labels("Matrox", 1, 0).keys() == {
        *("nvidia.com/gpu.present", "nvidia.com/gpu.product", "nvidia.com/gpu.count"),
    }
