"""``deploy.nvidiaDevicePlugin``: NVIDIA's device plug-in as an add-on; off unless it is wanted.

What the plug-in does on a node is its configuration file (https://github.com/NVIDIA/k8s-device-plugin): the MIG
strategy and time slicing. One such profile holds for all nodes; further ones, by name, for the nodes whose label
``nvidia.com/device-plugin.config`` names them, as with NVIDIA's own chart. What the planner expects of a node is in
other labels (`autonodes.core.sharing`); a pool that shares its GPUs sets both.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from autonodes.api.objects import Int32, LabelValue, Model, fault

CONFIG_LABEL: Final = "nvidia.com/device-plugin.config"
_RESOURCE: Final = re.compile(r"nvidia\.com/(gpu|mig-[0-9]+g\.[0-9]+gb(\.me)?)")
_PROFILE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


def _resource(value: str) -> str:
    if not _RESOURCE.fullmatch(value):
        raise fault("write nvidia.com/gpu, or nvidia.com/mig-PROFILE such as nvidia.com/mig-1g.5gb")
    return value


def _profile_name(value: str) -> str:
    if not _PROFILE.fullmatch(value) or value == "default":
        raise fault(
            "a profile's name is made of a-z, 0-9 and '-', with a letter or digit at both ends, at most 32 characters; "
            "'default' is taken"
        )
    return value


class Replicated(Model):
    name: Annotated[str, AfterValidator(_resource)]
    """The resource: nvidia.com/gpu, or nvidia.com/mig-1g.5gb and the like."""
    replicas: Annotated[Int32, Field(ge=2)]
    """How many pods share one."""


class TimeSlicing(Model):
    rename_by_default: bool = False
    """Whether what is shared is called nvidia.com/gpu.shared."""
    fail_requests_greater_than_one: bool = False
    """Whether a pod that asks for more than one is refused: it would get no more of the GPU."""
    resources: tuple[Replicated, ...] = Field(min_length=1)
    """What is shared."""


class Profile(Model):
    mig_strategy: Literal["none", "single", "mixed"] = "none"
    """How MIG instances are shown: not at all, all as nvidia.com/gpu, or each under the name of its profile."""
    time_slicing: TimeSlicing | None = None
    """GPUs that several pods share; none without it."""

    def document(self) -> dict[str, Any]:
        """The plug-in's configuration file."""
        document: dict[str, Any] = {"version": "v1", "flags": {"migStrategy": self.mig_strategy}}
        if self.time_slicing is not None:
            document["sharing"] = {"timeSlicing": self.time_slicing.model_dump(mode="json", by_alias=True)}
        return document


class NvidiaDevicePlugin(Profile):
    enabled: bool = False
    """Whether it runs on nodes with NVIDIA's GPUs."""
    image: str = Field(default="nvcr.io/nvidia/k8s-device-plugin:v0.19.2", min_length=1)
    """Where its image comes from."""
    profiles: dict[Annotated[str, AfterValidator(_profile_name)], Profile] = Field(default_factory=dict)
    """By name, for the nodes whose label nvidia.com/device-plugin.config has that name."""

    def by_name(self) -> dict[LabelValue, Profile]:
        """All profiles; that of the other nodes is called ``default``."""
        return {"default": self, **self.profiles}
