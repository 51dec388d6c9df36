"""Node classes: the provider says whether each can be used, and its ``Ready`` condition shows what it said.

A node class is checked when it changes, and again every five minutes: what it refers to may have come or gone.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from autonodes.api.conditions import READY, Condition, ConditionStatus, set_condition, to_json
from autonodes.controllers.providers import NodeClassObject, Providers
from autonodes.controllers.workqueue import WorkQueue
from autonodes.core.clock import Clock
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import node_class
from autonodes.provider import NodeClassNotReadyError, Provider

_RESYNC: Final = 300.0


class NodeClasses:
    def __init__(self, client: KubeClient, providers: Providers, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._providers = {provider.node_class_kind: provider for provider in providers.all()}
        self._queues = {
            kind: WorkQueue(kind, partial(self._check, kind), clock, resync=_RESYNC) for kind in self._providers
        }

    def changed(self, kind: str, name: str) -> None:
        """Look at it now."""
        self._queues[kind].add(name)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for queue in self._queues.values():
                tasks.create_task(queue.run())

    async def _check(self, kind: str, name: str) -> None:
        resource = node_class(kind)
        try:
            body = await self._client.get(resource, name)
        except NotFoundError:
            self._queues[kind].forget(name)
            return
        before = tuple(map(Condition.model_validate, (body.get("status") or {}).get("conditions") or ()))
        status, reason, message = await _verdict(self._providers[kind], body)
        after = set_condition(
            before,
            READY,
            status,
            now=self._clock.now(),
            reason=reason,
            message=message,
            observed_generation=body["metadata"].get("generation"),
        )
        if after != before:
            await self._client.merge_patch(resource, name, _status(body, after), subresource="status")


async def _verdict(provider: Provider, body: NodeClassObject) -> tuple[ConditionStatus, str, str]:
    try:
        await provider.validate(body)
    except NodeClassNotReadyError as error:
        return "False", "NotReady", str(error)
    return "True", READY, ""


def _status(body: NodeClassObject, conditions: tuple[Condition, ...]) -> dict[str, Any]:
    metadata = body["metadata"]
    return {
        "metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
        "status": {"conditions": to_json(conditions)},
    }
