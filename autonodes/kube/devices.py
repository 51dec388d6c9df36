"""Devices, their classes and the claims for them (``resource.k8s.io/v1``), decoded, and cached while a pod with claims
waits.

What is not planned for is not left out silently: a claim that asks for it has a ``fault``, a device that has it is
``unsupported``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from autonodes.api.devices import DraDevices
from autonodes.core.devices import (
    Attribute,
    Device,
    DeviceClass,
    DeviceRequest,
    DeviceState,
    ResourceClaim,
    ResourceSlice,
)
from autonodes.core.model import Pod
from autonodes.core.requirements import Requirements, required_terms
from autonodes.kube import wire
from autonodes.kube.cache import Cache
from autonodes.kube.needed import NeededCaches
from autonodes.kube.resources import DEVICECLASSES, RESOURCECLAIMS, RESOURCESLICES

_claim = msgspec.json.Decoder(wire.ResourceClaim).decode
_class = msgspec.json.Decoder(wire.DeviceClass).decode
_slice = msgspec.json.Decoder(wire.ResourceSlice).decode


def decode_resource_claim(raw: bytes) -> ResourceClaim:
    """A ResourceClaim."""
    read = _claim(raw)
    asked, allocation = read.spec.devices, read.status.allocation
    fault = next(_faults(asked), "")
    return ResourceClaim(
        namespace=sys.intern(read.metadata.namespace),
        name=read.metadata.name,
        requests=tuple(_request(each.name, each.exactly) for each in asked.requests or () if each.exactly),
        allocated=allocation is not None,
        devices=tuple((each.driver, each.pool, each.device) for each in _results(allocation)),
        node_terms=_reachable(allocation),
        fault=fault,
    )


def decode_device_class(raw: bytes) -> DeviceClass:
    """A DeviceClass."""
    read = _class(raw)
    return DeviceClass(name=read.metadata.name, selectors=_expressions(read.spec.selectors))


def decode_resource_slice(raw: bytes) -> ResourceSlice:
    """A ResourceSlice."""
    read = _slice(raw)
    spec = read.spec
    return ResourceSlice(
        name=read.metadata.name,
        driver=sys.intern(spec.driver),
        pool=spec.pool.name,
        node_name=sys.intern(spec.node_name),
        generation=spec.pool.generation,
        devices=tuple(_device(spec, each) for each in spec.devices or ()),
    )


def declared_devices(declared: Iterable[DraDevices]) -> tuple[Device, ...]:
    """What the nodes of an instance type will publish, as if they had."""
    devices: list[Device] = []
    for each in declared:
        spec = {"driver": each.driver, "pool": {"name": ""}, "devices": [{"name": "", **each.published()}]}
        body = msgspec.json.encode({"metadata": {"name": ""}, "spec": spec})
        devices += decode_resource_slice(body).devices * each.count
    return tuple(devices)


def _request(name: str, exactly: wire.ExactDeviceRequest) -> DeviceRequest:
    return DeviceRequest(
        name=name,
        device_class=sys.intern(exactly.device_class_name),
        selectors=_expressions(exactly.selectors),
        count=exactly.count or 1,
    )


def _faults(asked: wire.DeviceClaim) -> Iterator[str]:
    """What of a claim is not planned for."""
    for index, request in enumerate(asked.requests or ()):
        path, exactly = f"spec.devices.requests[{index}]", request.exactly
        if exactly is None:
            yield f"{path}.firstAvailable: alternatives are not planned for: ask with exactly"
        elif exactly.allocation_mode not in ("", "ExactCount"):
            yield f"{path}.exactly.allocationMode: {exactly.allocation_mode!r} is not planned for: use ExactCount"
        elif exactly.admin_access:
            yield f"{path}.exactly.adminAccess: is not planned for: run it where the devices are"
        elif exactly.capacity is not None or exactly.derived_attributes:
            yield f"{path}.exactly: parts of a device's capacity and derived attributes are not planned for"
    if asked.constraints:
        yield "spec.devices.constraints: constraints between devices are not planned for: select by attribute instead"


def _results(allocation: wire.Allocation | None) -> list[wire.AllocatedDevice]:
    """Those that nobody else can have; access for administrators takes nothing away."""
    found = (allocation.devices.results if allocation else None) or []
    return [each for each in found if not each.admin_access]


def _reachable(allocation: wire.Allocation | None) -> tuple[Requirements, ...]:
    """The nodes from which the devices can be used; empty if that is any, or if there are none yet."""
    selector = allocation.node_selector if allocation else None
    if selector is None:
        return ()
    terms = [(_lines(term.match_expressions), _lines(term.match_fields)) for term in selector.node_selector_terms]
    return required_terms({}, terms, path="status.allocation.nodeSelector")


def _lines(listed: list[wire.Expression] | None) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    return tuple((each.key, each.operator, tuple(each.values or ())) for each in listed or ())


def _expressions(selectors: list[wire.DeviceSelector] | None) -> tuple[str, ...]:
    return tuple(sys.intern(each.cel.expression) for each in selectors or () if each.cel)


def _device(spec: wire.ResourceSliceSpec, read: wire.Device) -> Device:
    return Device(
        driver=sys.intern(spec.driver),
        pool=spec.pool.name,
        name=read.name,
        attributes={name: _attribute(each) for name, each in (read.attributes or {}).items()},
        capacity={name: str(each.value) for name, each in (read.capacity or {}).items()},
        unsupported=_unsupported(read),
    )


def _unsupported(read: wire.Device) -> str:
    if read.consumes_counters:
        return "is cut from another device"
    if read.allow_multiple_allocations:
        return "is shared between claims"
    if any(taint.effect in ("NoSchedule", "NoExecute") for taint in read.taints or ()):
        return "is tainted"
    return "is bound after allocation" if read.binding_conditions else ""


def _attribute(read: wire.DeviceAttribute) -> Attribute:
    for value in (read.string, read.int_, read.bool_):
        if value is not None:
            return Attribute(value)
    if read.version is not None:
        return Attribute(read.version, version=True)
    if read.versions is not None:
        return Attribute(tuple(read.versions), version=True)
    return Attribute(tuple(read.strings or read.ints or read.bools or ()))


class DeviceCaches(NeededCaches):
    """While a pod waits that claims devices."""

    def wanted_by(self, pod: Pod) -> bool:
        return bool(pod.resource_claims)

    def make(self) -> tuple[Cache[Any], ...]:
        return (
            Cache(self.client, DEVICECLASSES, decode_device_class, self.clock),
            Cache(self.client, RESOURCECLAIMS, decode_resource_claim, self.clock),
            Cache(self.client, RESOURCESLICES, decode_resource_slice, self.clock),
        )

    def contents(self) -> DeviceState:
        """What is there now; nothing while nobody needs it."""
        if not self.running:
            return DeviceState()
        classes, claims, slices = (tuple(cache.items.values()) for cache in self.running)
        return DeviceState(classes=classes, claims=claims, slices=slices)
