"""GPUs that are shared: what a machine offers once its device plugin cuts or multiplies them.

A node with eight A100s and the MIG profile ``1g.5gb`` shows ``nvidia.com/mig-1g.5gb: 56`` and no ``nvidia.com/gpu``.
That is known before the node exists: the node's labels decide it, and the pool's template or the instance type sets
them.

- ``nvidia.com/mig.config`` (as for NVIDIA's MIG manager): ``all-1g.5gb`` cuts every GPU into as many instances of the
  profile as fit, ``all-balanced`` into the mixture that NVIDIA's default configuration names, ``all-disabled`` leaves
  them whole. Any other name is somebody's own configuration, and what comes of it can't be known.
- ``nvidia.com/gpu.replicas`` (as NVIDIA's feature discovery sets it for time slicing): each GPU, or each MIG instance,
  counts that many times. With ``nvidia.com/gpu.sharing-strategy: renamed`` the resource is called ``….shared``, as
  with the plugin's ``renameByDefault``.

How many instances of a profile fit on one GPU is in a table of NVIDIA's GPUs
(https://docs.nvidia.com/datacenter/tesla/mig-user-guide/); where the same profile means different things on two of
them, the GPU's memory decides (``nvidia.com/gpu.memory``, in MiB).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from autonodes.core.errors import ConfigError
from autonodes.core.model import InstanceType
from autonodes.core.resources import Resources

GPU: Final = "nvidia.com/gpu"
MIG_CONFIG: Final = "nvidia.com/mig.config"
GPU_REPLICAS: Final = "nvidia.com/gpu.replicas"
SHARING_STRATEGY: Final = "nvidia.com/gpu.sharing-strategy"
RENAMED: Final = "renamed"
GPU_MEMORY: Final = "nvidia.com/gpu.memory"

# GPU memory in gigabytes → profile → instances on one GPU: A30, A100, A100 and H100, H100 NVL, GH200, H200, B200
_PROFILES: Final[Mapping[int, Mapping[str, int]]] = {
    24: {"1g.6gb": 4, "2g.12gb": 2, "4g.24gb": 1},
    40: {"1g.5gb": 7, "1g.10gb": 4, "2g.10gb": 3, "3g.20gb": 2, "4g.20gb": 1, "7g.40gb": 1},
    80: {"1g.10gb": 7, "1g.20gb": 4, "2g.20gb": 3, "3g.40gb": 2, "4g.40gb": 1, "7g.80gb": 1},
    94: {"1g.12gb": 7, "1g.24gb": 4, "2g.24gb": 3, "3g.47gb": 2, "4g.47gb": 1, "7g.94gb": 1},
    96: {"1g.12gb": 7, "1g.24gb": 4, "2g.24gb": 3, "3g.48gb": 2, "4g.48gb": 1, "7g.96gb": 1},
    141: {"1g.18gb": 7, "1g.35gb": 4, "2g.35gb": 3, "3g.71gb": 2, "4g.71gb": 1, "7g.141gb": 1},
    180: {"1g.23gb": 7, "1g.45gb": 4, "2g.45gb": 3, "3g.90gb": 2, "4g.90gb": 1, "7g.180gb": 1},
}


def shared(instance_type: InstanceType, labels: Mapping[str, str]) -> InstanceType:
    """The type as its nodes show it with these labels; the same object if they change nothing.

    :param labels: the pool's; the type's own (its single-valued requirements) stand behind them
    :raises ConfigError: a label that makes no sense, or of which the outcome can't be known
    """
    if not instance_type.capacity.get(GPU):
        return instance_type
    capacity = shared_capacity(instance_type.capacity, {**instance_type.requirements.labels(), **labels})
    return instance_type if capacity is instance_type.capacity else replace(instance_type, capacity=capacity)


def shared_capacity(capacity: Resources, labels: Mapping[str, str]) -> Resources:
    """What a machine shows of this capacity, by all its labels.

    :raises ConfigError: as `shared`
    """
    gpus, config, replicas = capacity.get(GPU, 0), labels.get(MIG_CONFIG, ""), labels.get(GPU_REPLICAS, "")
    if not gpus or not (config or replicas):
        return capacity
    units = _cut(gpus, config, labels.get(GPU_MEMORY, ""))
    if replicas:
        units = _multiplied(units, replicas, renamed=labels.get(SHARING_STRATEGY) == RENAMED)
    return {**{name: amount for name, amount in capacity.items() if name != GPU}, **units}


def _cut(gpus: int, config: str, memory: str) -> Resources:
    if config in ("", "all-disabled"):
        return {GPU: gpus}
    tables = _tables(memory)
    if config == "all-balanced":
        mixtures = [_balanced(table) for table in tables]
    else:
        profile = config.removeprefix("all-")
        mixtures = [{profile: table[profile]} for table in tables if config.startswith("all-") and profile in table]
    if not mixtures:
        known = ", ".join(sorted({f"all-{profile}" for table in tables for profile in table}))
        raise ConfigError(_at(MIG_CONFIG), config, f"what becomes of the GPUs can't be known; known are {known}")
    if any(mixture != mixtures[0] for mixture in mixtures):
        raise ConfigError(_at(MIG_CONFIG), config, f"means different things on different GPUs: label {GPU_MEMORY} too")
    return {f"nvidia.com/mig-{profile}": count * gpus for profile, count in mixtures[0].items()}


def _tables(memory: str) -> list[Mapping[str, int]]:
    """Those of the GPUs that it could be: of the size that is nearest to the memory, in MiB; all if it is not known."""
    if not memory:
        return list(_PROFILES.values())
    if not (memory.isascii() and memory.isdigit()):
        raise ConfigError(_at(GPU_MEMORY), memory, "write the memory of one GPU in MiB, such as 40960")
    return [_PROFILES[min(_PROFILES, key=lambda size: abs(size * 1024 - int(memory)))]]


def _balanced(table: Mapping[str, int]) -> Mapping[str, int]:
    """The mixture of that name in NVIDIA's default configuration."""
    by_slices = {int(profile[0]): profile for profile in reversed(list(table))}
    wanted = {1: 2, 2: 1, 3: 1} if 3 in by_slices else {1: 2, 2: 1}
    return {by_slices[slices]: count for slices, count in wanted.items()}


def _multiplied(units: Resources, replicas: str, *, renamed: bool) -> Resources:
    if not (replicas.isascii() and replicas.isdigit() and int(replicas) > 0):
        raise ConfigError(_at(GPU_REPLICAS), replicas, "write how many pods share a GPU, a positive number")
    suffix = ".shared" if renamed else ""
    return {f"{name}{suffix}": amount * int(replicas) for name, amount in units.items()}


def _at(label: str) -> str:
    return f"labels[{label}]"
