"""Whom Services, ReplicaSets, StatefulSets and ReplicationControllers select: for default topology spread.

A cluster has many of them, so they are cached only where somebody has set default constraints.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import Any, Final, NamedTuple

import msgspec

from autonodes.core.clock import Clock
from autonodes.core.defaultspread import Selectors, service_selector
from autonodes.core.requirements import Requirements
from autonodes.kube import wire
from autonodes.kube.cache import Cache
from autonodes.kube.client import KubeClient
from autonodes.kube.podterms import label_selector
from autonodes.kube.resources import REPLICASETS, REPLICATIONCONTROLLERS, SERVICES, STATEFULSETS, Resource


class Selecting(NamedTuple):
    """An object that selects pods of its namespace; without requirements it selects none."""

    uid: str
    namespace: str
    selector: Requirements


_by_labels = msgspec.json.Decoder(wire.SelectingByLabels).decode
_by_selector = msgspec.json.Decoder(wire.Selecting).decode


def decode_service(raw: bytes) -> Selecting:
    """A Service or a ReplicationController: its selector is a mapping of labels."""
    read = _by_labels(raw)
    metadata = read.metadata
    return Selecting(metadata.uid, sys.intern(metadata.namespace), service_selector(read.spec.selector or {}))


def decode_replicaset(raw: bytes) -> Selecting:
    """A ReplicaSet or a StatefulSet."""
    read = _by_selector(raw)
    metadata, selector = read.metadata, read.spec.selector
    found = Requirements() if selector is None else label_selector(selector, "spec.selector")
    return Selecting(metadata.uid, sys.intern(metadata.namespace), found)


_DECODERS: Final = {
    SERVICES: decode_service,
    REPLICATIONCONTROLLERS: decode_service,
    REPLICASETS: decode_replicaset,
    STATEFULSETS: decode_replicaset,
}


class WorkloadCaches:
    """:ivar all: one cache a kind; whoever made this runs them"""

    def __init__(self, client: KubeClient, clock: Clock) -> None:
        self._by_kind: dict[Resource, Cache[Selecting]] = {
            resource: Cache(client, resource, decode, clock) for resource, decode in _DECODERS.items()
        }
        self.all: tuple[Cache[Any], ...] = tuple(self._by_kind.values())

    def contents(self) -> Selectors:
        """As the caches have it now."""
        services: dict[str, list[Requirements]] = defaultdict(list)
        for service in self._by_kind[SERVICES].items.values():
            services[service.namespace].append(service.selector)
        owners = (cache for resource, cache in self._by_kind.items() if resource != SERVICES)
        return Selectors(services, {each.uid: each.selector for cache in owners for each in cache.items.values()})
