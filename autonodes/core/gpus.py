"""The labels of a node with GPUs, as NVIDIA's GPU feature discovery sets them (https://github.com/NVIDIA/k8s-device-plugin).

They are known before the node is there, so that a pod may select by them. How GPUs are cut up or shared is for
`autonodes.core.sharing`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_MIB: Final = 2**20
_MODEL: Final = re.compile(r"\b([BHLATV])\d")
_FAMILIES: Final[Mapping[str, str]] = {
    "B": "blackwell",
    "H": "hopper",
    "L": "ada-lovelace",
    "A": "ampere",
    "T": "turing",
    "V": "volta",
}
"""First letter of a data centre GPU's model → its architecture."""


def gpu_labels(product: str, count: int, memory: int) -> dict[str, str]:
    """:param memory: bytes of each; 0 if that is not known"""
    shown = {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.count": str(count),
    }
    if memory:
        shown["nvidia.com/gpu.memory"] = str(memory // _MIB)
    if model := _MODEL.search(product):
        shown["nvidia.com/gpu.family"] = _FAMILIES[model.group(1)]
    return shown
