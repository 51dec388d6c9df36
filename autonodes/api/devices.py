"""Devices that the nodes of an instance type will publish for dynamic resource allocation (``resource.k8s.io/v1``).

They are written as in a ResourceSlice, so that they can be copied from one of a node that exists.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from autonodes.api.objects import Model, Quantity, fault

_ONE_VALUE: Final = "an attribute has one value: give one of string, int, bool and version"


class DraAttribute(Model):
    """One value, by its type."""

    string: Annotated[str, Field(max_length=64)] | None = None
    """A text."""
    int_: Annotated[int, Field(strict=True)] | None = Field(default=None, alias="int")
    """A whole number."""
    bool_: Annotated[bool, Field(strict=True)] | None = Field(default=None, alias="bool")
    """True or false."""
    version: Annotated[str, Field(max_length=64)] | None = None
    """A semantic version."""

    @model_validator(mode="after")
    def _has_one_value(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise fault(_ONE_VALUE)
        return self


class DraCapacity(Model):
    value: Quantity
    """Such as 40Gi."""


class DraDevices(Model):
    """Devices of one sort."""

    driver: Annotated[str, Field(min_length=1, max_length=63)]
    """The DRA driver that publishes them, such as gpu.nvidia.com."""
    count: int = Field(default=1, strict=True, ge=1, le=128)
    """How many of them a node has."""
    attributes: Annotated[dict[str, DraAttribute], Field(max_length=32)] = Field(default_factory=dict)
    """As in the node's ResourceSlice; a name without a domain is the driver's."""
    capacity: Annotated[dict[str, DraCapacity], Field(max_length=32)] = Field(default_factory=dict)
    """Likewise."""

    def published(self) -> dict[str, Any]:
        """One of them as a ResourceSlice shows it, without its name."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, include={"attributes", "capacity"})
