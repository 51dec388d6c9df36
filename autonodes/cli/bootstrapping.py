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
from autonodes.kube.resources import CONFIGMAPS, CRDS, DAEMONSETS, NAMESPACES, NODEPOOLS, Resource

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
            if _condition(await self._client.get(CRDS, name), "Established").get("status") == "True":
                return
            await asyncio.sleep(_POLL)
        raise ApiError(f"the server does not serve {name}")

    async def prune_node_pools(self, kept: Iterable[Mapping[str, Any]]) -> list[str]:
        """Delete the NodePools that came from the configuration and are no longer in it; their nodes are drained."""
        return await self._prune(NODEPOOLS, ORIGIN, kept)

    async def prune_add_on(self, marks: Mapping[str, str], namespace: str, kept: Iterable[Mapping[str, Any]]) -> None:
        """Delete what an add-on left that has fewer parts than before, or is no longer wanted.

        :param marks: labels of all its objects
        """
        given = list(kept)
        for resource in (DAEMONSETS, CONFIGMAPS):
            await self._prune(resource, marks, given, namespace)

    async def _prune(
        self,
        resource: Resource,
        marks: Mapping[str, str],
        kept: Iterable[Mapping[str, Any]],
        namespace: str | None = None,
    ) -> list[str]:
        names = {each["metadata"]["name"] for each in kept if each["kind"] == resource.kind}
        selector = ",".join(f"{key}={value}" for key, value in marks.items())
        gone = []
        for found in await self._client.list(resource, namespace, label_selector=selector):
            name = found["metadata"]["name"]
            if name not in names:
                await self._client.delete(resource, name, namespace, uid=found["metadata"]["uid"])
                gone.append(name)
        return gone

    async def unready_node_pools(self) -> dict[str, str | None]:
        """Those of which the controller has not said that they are ready, and what it says; None if nothing yet."""
        selector = ",".join(f"{key}={value}" for key, value in ORIGIN.items())
        pools = await self._client.list(NODEPOOLS, label_selector=selector)
        verdicts = {pool["metadata"]["name"]: _condition(pool, "Ready") for pool in pools}
        return {name: _said(each) for name, each in verdicts.items() if each.get("status") != "True"}

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


def _said(verdict: Mapping[str, Any]) -> str | None:
    return str(verdict.get("message") or verdict.get("reason")) if verdict else None


def _condition(found: Object, kind: str) -> Mapping[str, Any]:
    conditions = found.get("status", {}).get("conditions") or ()  # null at first
    return next((each for each in conditions if each["type"] == kind), {})
