"""The caches of one cluster, in a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodepool import NodePool
from autonodes.core.clock import Clock
from autonodes.core.model import DaemonSet, Node, Pod
from autonodes.kube.cache import Cache
from autonodes.kube.client import KubeClient
from autonodes.kube.resources import Resource


class ClusterState:
    pods: Cache[Pod]
    nodes: Cache[Node]
    daemonsets: Cache[DaemonSet]
    nodepools: Cache[NodePool]
    nodeclaims: Cache[NodeClaim]
    nodeclasses: Cache[dict[str, Any]]
    pods_by_node: Mapping[str, Mapping[str, Pod]]

    def __init__(self, client: KubeClient, clock: Clock, *, node_class: Resource | None = None) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        raise NotImplementedError

    async def synced(self) -> None:
        raise NotImplementedError

    def fresh(self, now: float) -> bool:
        raise NotImplementedError
