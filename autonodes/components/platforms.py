"""The machine's operating system and CPU architecture, in Go's names."""

import platform
from dataclasses import dataclass

from autonodes.core.errors import EnvironmentFault

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "amd64": "amd64"}


@dataclass(frozen=True, slots=True)
class Platform:
    """What binaries must be made for; ``str()`` is the name of its folder in the cache."""

    os: str
    arch: str

    def __str__(self) -> str:
        return f"{self.os}-{self.arch}"


def current_platform() -> Platform:
    """This machine's.

    :raises EnvironmentFault: Kubernetes' nodes are not to be had for it
    """
    machine, system = platform.machine().lower(), platform.system().lower()
    arch = _ARCHITECTURES.get(machine)
    if system != "linux" or arch is None:
        raise EnvironmentFault(
            f"components are not available for {system} on {machine}",
            "use Linux on x86_64 or aarch64, for example in a virtual machine",
        )
    return Platform(system, arch)
