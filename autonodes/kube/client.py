"""The client: get, list, watch, write, evict; complete answers or a typed error.

Objects are plain dicts as the API server holds them. What is decoded into narrow values goes through the caches
(`autonodes.kube.cache`), and those use `pages` and `watch`, which hand out undecoded objects.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from autonodes.kube.errors import ApiError, ApiUnreachableError, GoneError, Status, error_from_status
from autonodes.kube.kubeconfig import Credentials, load_kubeconfig
from autonodes.kube.resources import PODS, Resource
from autonodes.kube.transport import Transport

Object = dict[str, Any]
T = TypeVar("T")

PAGE: Final = 500
"""Objects in one page of a list, as client-go's pager: bounds the memory of a list."""
LIST_TIMEOUT: Final = 60.0
"""Seconds for one page."""
WATCH_TIMEOUT: Final = 540.0
"""Seconds after which the server ends a watch by itself and it is opened anew; client-go draws from 5 to 10 minutes."""

_MERGE_PATCH: Final = "application/merge-patch+json"
_JSON_PATCH: Final = "application/json-patch+json"
_APPLY_PATCH: Final = "application/apply-patch+yaml"


class _ListMeta(msgspec.Struct, rename={"resource_version": "resourceVersion", "continue_": "continue"}):
    resource_version: str = ""
    continue_: str = ""


class Page(msgspec.Struct):
    """A part of a list; ``items`` are undecoded objects."""

    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None

    @property
    def resource_version(self) -> str:
        """The same on all pages of one list; a watch goes on from it."""
        return self.metadata.resource_version


class WatchEvent(msgspec.Struct):
    """``type`` is ADDED, MODIFIED, DELETED or BOOKMARK; ``object`` is undecoded."""

    type: str
    object: msgspec.Raw


class KubeClient:
    """A client of one API server. Safe to use from many tasks of one event loop; `close` it at the end."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        user_agent: str = "autonodes",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.server = credentials.server
        self.default_namespace = credentials.namespace
        self._transport = Transport(credentials, user_agent=user_agent, sleep=sleep)

    @classmethod
    def from_kubeconfig(cls, path: Path, *, user_agent: str = "autonodes") -> KubeClient:
        """:raises ConfigError: the file can't be used"""
        return cls(load_kubeconfig(path), user_agent=user_agent)

    async def __aenter__(self) -> KubeClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """:raises NotFoundError: no such object"""
        return _object(await self._transport.read(resource.path(name, namespace), {}))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> list[Object]:
        """Every object, complete and of one moment, or an error. Without a namespace: of all namespaces.

        :raises GoneError: the list kept changing under its pages for three times
        """
        selectors = {"label_selector": label_selector, "field_selector": field_selector}
        for limit in (PAGE, PAGE, 0):
            try:
                pages = [page async for page in self.pages(resource, namespace, limit=limit, **selectors)]
            except GoneError:
                if not limit:
                    raise
            else:
                return [_object(item) for page in pages for item in page.items or ()]
        raise AssertionError("unreachable")

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = PAGE,
    ) -> AsyncGenerator[Page, None]:
        """The pages of a list, all of one resourceVersion.

        :param limit: objects a page; 0 for all in one
        :raises GoneError: the list expired between two pages; what came before is worth nothing
        """
        params = _selectors(label_selector, field_selector)
        if limit:
            params["limit"] = str(limit)
        while True:
            body = await self._transport.read(resource.path("", namespace), params, limit=LIST_TIMEOUT)
            page = _decoded(body, Page)
            yield page
            if not page.metadata.continue_:
                return
            params["continue"] = page.metadata.continue_

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout: float = WATCH_TIMEOUT,  # noqa: ASYNC109 -- the server's, sent as timeoutSeconds
    ) -> AsyncGenerator[WatchEvent | None, None]:
        """Events after ``resource_version``, bookmarks included; the first item is None, when the server accepts.

        Ends when the server ends it. There is no limit to a silence: the caller must have one.

        :raises GoneError: ``resource_version`` is too old, list again
        :raises ApiUnreachableError: the stream broke
        """
        params = _selectors(label_selector, field_selector) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(int(timeout)),
        }
        path = resource.path("", namespace)
        decode = msgspec.json.Decoder(WatchEvent).decode
        async with self._transport.stream(path, params) as content:
            yield None
            rest = bytearray()
            async for chunk in content.iter_any():
                for line in _lines(rest, chunk):
                    event = _event(decode, line, path)
                    yield event

    async def create(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        namespace: str | None = None,
        *,
        name: str = "",
        subresource: str = "",
    ) -> Object:
        """:param name: with ``subresource``: the object under which to post (``token`` of a service account)
        :raises AlreadyExistsError: the name is taken
        """
        path = resource.path(name, namespace or _namespace(body), subresource)
        return _object(await self._transport.write("POST", path, _encoded(body)))

    async def replace(self, resource: Resource, body: Mapping[str, Any], *, subresource: str = "") -> Object:
        """:raises ConflictError: the body's resourceVersion is not the newest"""
        path = resource.path(body["metadata"]["name"], _namespace(body), subresource)
        return _object(await self._transport.write("PUT", path, _encoded(body)))

    async def merge_patch(
        self,
        resource: Resource,
        name: str,
        patch: Mapping[str, Any],
        namespace: str | None = None,
        *,
        subresource: str = "",
    ) -> Object:
        """RFC 7386. ``metadata.resourceVersion`` (or ``uid``) in it ties the patch to that version (that object).

        :raises ConflictError: it is another version or object by now
        """
        path = resource.path(name, namespace, subresource)
        return _object(await self._transport.write("PATCH", path, _encoded(patch), content_type=_MERGE_PATCH))

    async def json_patch(
        self,
        resource: Resource,
        name: str,
        patch: Sequence[Mapping[str, Any]],
        namespace: str | None = None,
        *,
        subresource: str = "",
    ) -> Object:
        """RFC 6902.

        :raises InvalidError: a ``test`` operation failed, or a path is not there
        """
        path = resource.path(name, namespace, subresource)
        return _object(await self._transport.write("PATCH", path, _encoded(patch), content_type=_JSON_PATCH))

    async def apply(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        field_manager: str,
        force: bool = True,
        subresource: str = "",
    ) -> Object:
        """Server-side apply (KEP-555): create, or make the fields in ``body`` so.

        :raises ConflictError: without ``force``, another manager owns one of the fields
        """
        path = resource.path(body["metadata"]["name"], _namespace(body), subresource)
        params = {"fieldManager": field_manager, "force": "true" if force else "false"}
        full = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        return _object(
            await self._transport.write("PATCH", path, _encoded(full), params=params, content_type=_APPLY_PATCH)
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        grace_period: float | None = None,
    ) -> None:
        """Ask for the deletion; finalizers and grace periods take their time after it returned.

        :param grace_period: seconds, 0 removes a pod from the API at once
        :raises NotFoundError: no such object
        :raises ConflictError: the object of that name has another UID
        """
        body = _delete_options(uid, grace_period)
        await self._transport.write("DELETE", resource.path(name, namespace), _encoded(body))

    async def evict(
        self, pod_name: str, namespace: str, *, uid: str | None = None, grace_period: float | None = None
    ) -> None:
        """Delete a pod as far as its PodDisruptionBudgets allow.

        :raises TooManyRequestsError: not now; ``disruption_budget`` says whether a budget is the reason
        :raises NotFoundError: the pod is gone
        :raises ConflictError: a pod of that name has another UID
        """
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod_name, "namespace": namespace},
            "deleteOptions": _delete_options(uid, grace_period),
        }
        path = PODS.path(pod_name, namespace, "eviction")
        await self._transport.write("POST", path, _encoded(body))

    async def read(self, path: str, **params: str) -> bytes:
        """Any other GET (``/metrics``, a pod's ``log``), undecoded."""
        return await self._transport.read(path, params)

    async def version(self) -> Object:
        """The server's ``/version``: ``gitVersion`` and so on."""
        return _object(await self._transport.read("/version", {}))

    async def ready(self) -> bool:
        """Whether the server says of itself that it is ready; False also when it does not answer."""
        try:
            await self._transport.probe("/readyz")
        except ApiError:
            return False
        return True


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    named = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: value for name, value in named.items() if value}


def _namespace(body: Mapping[str, Any]) -> str | None:
    namespace: str | None = body.get("metadata", {}).get("namespace")
    return namespace


def _delete_options(uid: str | None, grace_period: float | None) -> Object:
    options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if uid is not None:
        options["preconditions"] = {"uid": uid}
    if grace_period is not None:
        options["gracePeriodSeconds"] = int(grace_period)
    return options


_encoded = msgspec.json.Encoder().encode


def _decoded(body: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise ApiUnreachableError(f"the answer can't be read: {error}") from error


def _object(body: bytes | msgspec.Raw) -> Object:
    return _decoded(body, dict[str, Any])


def _lines(rest: bytearray, chunk: bytes) -> list[bytes]:
    """The complete lines of what was left over and a new chunk; an incomplete one stays in ``rest``."""
    if b"\n" not in chunk:
        rest += chunk
        return []
    *lines, tail = (bytes(rest) + chunk).split(b"\n")
    rest[:] = tail
    return lines


def _event(decode: Callable[[bytes], WatchEvent], line: bytes, path: str) -> WatchEvent:
    try:
        event = decode(line)
        if event.type != "ERROR":
            return event
        status = msgspec.json.decode(event.object, type=Status)
    except msgspec.MsgspecError as error:
        raise ApiUnreachableError(f"an event can't be read: {error}", request=f"WATCH {path}") from error
    raise error_from_status(status, request=f"WATCH {path}")
