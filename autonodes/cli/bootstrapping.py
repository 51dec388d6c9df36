"""What a new cluster must hold before the controller can work: applied at every `up`, so it follows the configuration.

Server-side apply (KEP-555) with a field manager of our own: what others set in the same objects stays. Kinds are looked
up by discovery, so add-ons may bring any.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from autonodes.api.autonodes import ORIGIN
from autonodes.core.errors import ConfigError
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.errors import ApiError
from autonodes.kube.resources import CRDS, NAMESPACES, NODEPOOLS, Resource

FIELD_MANAGER: Final = "autonodes-up"
_POLL: Final = 0.05
_AT_ONCE: Final = 8
_ATTEMPTS: Final = 400
_NOT_FOUND: Final = 404


class Applier:
    """:param client: of an administrator"""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._kinds: dict[tuple[str, str], Resource] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def apply(self, documents: Iterable[Mapping[str, Any]]) -> int:
        """Namespaces first, then all others, several at a time; returns how many.

        :raises ApiError: the server refused one
        """
        given = list(documents)
        spaces = [each for each in given if each["kind"] == NAMESPACES.kind]
        for group in (spaces, [each for each in given if each["kind"] != NAMESPACES.kind]):
            await asyncio.gather(*(self._apply(each) for each in group))
        return len(given)

    async def install_crds(self, definitions: Sequence[Mapping[str, Any]]) -> int:
        """Apply them and wait until the server serves the new kinds."""
        await self.apply(definitions)
        for definition in definitions:
            await self._wait_until_served(definition["metadata"]["name"])
        return len(definitions)

    async def install_missing_crds(self, definitions: Sequence[Mapping[str, Any]]) -> int:
        """The same for kinds of others: one that is there belongs to somebody, and stays as it is."""
        names = {each["metadata"]["name"] for each in await self._client.list(CRDS)}
        return await self.install_crds([each for each in definitions if each["metadata"]["name"] not in names])

    async def _apply(self, document: Mapping[str, Any]) -> None:
        resource = await self._resource(document["apiVersion"], document["kind"])
        async with self._slots:
            await self._client.apply(resource, document, field_manager=FIELD_MANAGER)

    async def _wait_until_served(self, name: str) -> None:
        for _ in range(_ATTEMPTS):
            if _established(await self._client.get(CRDS, name)):
                return
            await asyncio.sleep(_POLL)
        raise ApiError(f"the server does not serve {name}")

    async def prune_node_pools(self, kept: Iterable[Mapping[str, Any]]) -> list[str]:
        """Delete the NodePools that came from the configuration and are no longer in it; their nodes are drained."""
        names = {each["metadata"]["name"] for each in kept if each["kind"] == NODEPOOLS.kind}
        selector = ",".join(f"{key}={value}" for key, value in ORIGIN.items())
        gone = []
        for pool in await self._client.list(NODEPOOLS, label_selector=selector):
            if pool["metadata"]["name"] not in names:
                await self._client.delete(NODEPOOLS, pool["metadata"]["name"], uid=pool["metadata"]["uid"])
                gone.append(pool["metadata"]["name"])
        return gone

    async def unready_node_pools(self) -> dict[str, str]:
        """Those of which the controller has not yet said that they are ready, and what it says instead."""
        selector = ",".join(f"{key}={value}" for key, value in ORIGIN.items())
        pools = await self._client.list(NODEPOOLS, label_selector=selector)
        return {pool["metadata"]["name"]: said for pool in pools if (said := _unready(pool)) is not None}

    async def _resource(self, api_version: str, kind: str) -> Resource:
        """By discovery; a group that was made a moment ago may take a while to show."""
        key = (api_version, kind)
        for _ in range(_ATTEMPTS):
            if key in self._kinds:
                return self._kinds[key]
            await self._discover(api_version)
            if key not in self._kinds:
                await asyncio.sleep(_POLL)
        raise ConfigError(f"{kind}.{api_version}", kind, "the API server knows no such kind")

    async def _discover(self, api_version: str) -> None:
        root = "apis" if "/" in api_version else "api"
        try:
            found = json.loads(await self._client.read(f"/{root}/{api_version}"))
        except ApiError as error:
            if error.code == _NOT_FOUND:  # of a path, not of an object
                return
            raise
        group, _, version = api_version.rpartition("/")
        for each in found["resources"]:
            if "/" not in each["name"]:
                resource = Resource(group, version, each["name"], each["kind"], each["namespaced"])
                self._kinds[(api_version, each["kind"])] = resource


def _unready(pool: Object) -> str | None:
    conditions = pool.get("status", {}).get("conditions") or ()
    ready = next((each for each in conditions if each["type"] == "Ready"), None)
    if ready is None:
        return "the controller has not looked at it yet"
    return None if ready["status"] == "True" else str(ready.get("message") or ready.get("reason"))


def _established(definition: Object) -> bool:
    conditions = definition.get("status", {}).get("conditions") or ()  # null at first
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
