"""The providers by the kind of their node class, and the node classes as the cache has them.

A NodePool and a NodeClaim name a node class; its kind says whose machines are meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autonodes.core.model import InstanceType
from autonodes.kube.cache import Cache
from autonodes.provider import NodeClassNotReadyError, Provider

NodeClassObject = Mapping[str, Any]
"""As the API server holds it: ``metadata``, ``spec``, ``status``."""

NodeClassRef = tuple[str, str, str]
"""Group, kind, name."""

GROUP = "autonodes.io"
"""API group of our node classes. Pools and claims with a class of another group are somebody else's (Karpenter may run
in the same cluster): they are counted, and otherwise left alone."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the machines of one node class come from."""

    provider: Provider
    node_class: NodeClassObject

    async def instance_types(self) -> Sequence[InstanceType]:
        """:raises ProviderError: they can't be known"""
        return await self.provider.instance_types(self.node_class)


class Providers:
    """:param providers: by the kind of their node class
    :param classes: caches of the node classes, by kind
    """

    def __init__(self, providers: Mapping[str, Provider], classes: Mapping[str, Cache[dict[str, Any]]]) -> None:
        self._providers, self._classes = dict(providers), dict(classes)

    def all(self) -> tuple[Provider, ...]:
        """In the order of their kinds."""
        return tuple(provider for _, provider in sorted(self._providers.items()))

    def of(self, ref: NodeClassRef) -> Provider:
        """Whose machines a node class of this kind describes.

        :raises NodeClassNotReadyError: nobody's here
        """
        group, kind, _ = ref
        provider = self._providers.get(kind)
        if provider is None or group != GROUP:
            known = ", ".join(sorted(self._providers)) or "none"
            raise NodeClassNotReadyError(f"no provider serves {kind}.{group}; served are: {known}")
        return provider

    def source(self, ref: NodeClassRef) -> Source:
        """:raises NodeClassNotReadyError: no such provider or node class, or it goes away, or it can't be used"""
        provider = self.of(ref)
        _, kind, name = ref
        node_class = self._classes[kind].get(name)
        if node_class is None:
            raise NodeClassNotReadyError(f"{kind} {name} does not exist")
        if node_class["metadata"].get("deletionTimestamp"):
            raise NodeClassNotReadyError(f"{kind} {name} is being deleted")
        if (fault := not_ready(node_class)) is not None:
            raise NodeClassNotReadyError(f"{kind} {name} is not ready: {fault}")
        return Source(provider, node_class)


def not_ready(node_class: NodeClassObject) -> str | None:
    """Why its ``Ready`` condition is not True; None if it is."""
    conditions = (node_class.get("status") or {}).get("conditions") or ()
    ready = next((each for each in conditions if each.get("type") == "Ready"), None)
    if ready is None:
        return "it was not checked yet"
    if ready.get("status") == "True":
        return None
    return str(ready.get("message") or ready.get("reason") or "unknown")
