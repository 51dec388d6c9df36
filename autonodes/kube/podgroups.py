"""PodGroups (``scheduling.k8s.io/v1beta1``, KEP-4671), decoded, and cached while a pod of one waits.

The API is served, and pods keep ``spec.schedulingGroup``, where the API server has
``--feature-gates=GenericWorkload=true --runtime-config=scheduling.k8s.io/v1beta1=true``; constraints on topology need
the gate ``TopologyAwareWorkloadScheduling``.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from autonodes.core.model import Pod, PodGroup
from autonodes.kube import wire
from autonodes.kube.cache import Cache
from autonodes.kube.needed import NeededCaches
from autonodes.kube.resources import PODGROUPS

_group = msgspec.json.Decoder(wire.PodGroup).decode


def decode_podgroup(raw: bytes) -> PodGroup:
    """A PodGroup; with the basic policy its minimum is 0."""
    read = _group(raw)
    gang, constraints = read.spec.scheduling_policy.gang, read.spec.scheduling_constraints
    topology = (constraints.topology if constraints else None) or ()
    return PodGroup(
        namespace=sys.intern(read.metadata.namespace),
        name=read.metadata.name,
        min_count=gang.min_count if gang else 0,
        topology_key=next((each.key for each in topology), ""),
    )


class PodGroupCaches(NeededCaches):
    """While a pod waits that is in a PodGroup."""

    def wanted_by(self, pod: Pod) -> bool:
        return bool(pod.group)

    def make(self) -> tuple[Cache[Any], ...]:
        return (Cache(self.client, PODGROUPS, decode_podgroup, self.clock),)

    def contents(self) -> tuple[PodGroup, ...]:
        """What is there now; nothing while nobody needs it."""
        return tuple(group for cache in self.running for group in cache.items.values())
