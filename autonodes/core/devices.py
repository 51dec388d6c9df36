"""Dynamic resource allocation (``resource.k8s.io/v1``, KEP-4381), as far as planning needs it: devices, what asks for
them, and what has been given already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autonodes.core.requirements import Requirements

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Attribute:
    """:param value: one, or several where the driver publishes a list
    :param version: whether the text is a semantic version
    """

    value: Value | tuple[Value, ...]
    version: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of a node, or one that the nodes of an instance type will have.

    :param pool: of resources, and ``name`` in it; empty for a device that does not exist yet
    :param attributes: by qualified name; without a domain it is the driver's
    :param capacity: likewise; quantities as they were published
    :param unsupported: why it can't be given to anybody here (it is cut from another, it is tainted), or ""
    """

    driver: str
    pool: str = ""
    name: str = ""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    capacity: Mapping[str, str] = field(default_factory=dict)
    unsupported: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.driver, self.pool, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClass:
    """:param selectors: CEL; all must hold"""

    name: str
    selectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRequest:
    """``count`` devices of a class that meet the selectors."""

    name: str
    device_class: str
    selectors: tuple[str, ...] = ()
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceClaim:
    """:param allocated: whether it has its devices; then ``devices`` are these, by driver, pool and name
    :param node_terms: the OR-ed terms of the nodes from which the devices can be reached
    :param fault: what of it is not understood here (field, value), or ""
    """

    namespace: str
    name: str
    requests: tuple[DeviceRequest, ...] = ()
    allocated: bool = False
    devices: tuple[tuple[str, str, str], ...] = ()
    node_terms: tuple[Requirements, ...] = ()
    fault: str = ""

    @property
    def key(self) -> str:
        """``namespace/name``"""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSlice:
    """Devices that a driver publishes.

    :param node_name: the node that they are on; "" for devices that are on none or on many, which are not planned with
    :param generation: of its pool; only the newest counts
    """

    name: str
    driver: str
    pool: str
    node_name: str = ""
    generation: int = 0
    devices: tuple[Device, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """All of it that a cluster has."""

    classes: tuple[DeviceClass, ...] = ()
    claims: tuple[ResourceClaim, ...] = ()
    slices: tuple[ResourceSlice, ...] = ()
