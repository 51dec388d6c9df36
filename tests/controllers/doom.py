"""Death at the n-th step: a gate between the controller and the world that closes for ever.

Everything the controller does to the outside passes here: each request that changes something in the API server (kopf's
included; Events and the Lease are not counted, their times are their own) and each call of the provider. Every one is
two steps, before it has an effect and after it, when its answer is lost. When the gate has closed nothing passes any
more, in either direction: for the world the controller is dead, whatever its remains still try.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from autonodes.kube.kubeconfig import Credentials
from autonodes.provider import Provider, ProviderError
from kube.faultproxy import FaultProxy

if TYPE_CHECKING:
    from controllers.stage import Stage
    from controlplane import RunningControlPlane

_UNCOUNTED = ("/events", "/leases")


class Doom:
    """:param step: the step at which to die, counted from 1; 0 for never"""

    def __init__(self, step: int) -> None:
        self._step = step
        self.steps = 0
        self.dead = asyncio.Event()
        self.last = ""

    def passes(self, what: str) -> bool:
        """One more step; whether the controller lives on after it."""
        if self.dead.is_set():
            return False
        self.steps += 1
        if self.steps == self._step:
            self.last = what
            self.dead.set()
        return not self.dead.is_set()


class Gate(FaultProxy):
    """Towards the API server."""

    def __init__(self, kubeconfig: Path, doom: Doom) -> None:
        super().__init__(kubeconfig)
        self._doom = doom
        self.kopf_is_blind = False
        """Whether kopf's watches stand and say nothing; it asks for them in other words than the caches do."""
        self.kopf_watches = 0

    async def watch_doom(self) -> None:
        """Tear the watches down when it comes."""
        await self._doom.dead.wait()
        self.cut_streams()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            self.kopf_watches += 1
            if self.kopf_is_blind:
                await asyncio.Event().wait()
        counts = request.method != "GET" and not any(part in request.path for part in _UNCOUNTED)
        what = f"{request.method} {request.path}"
        if self._doom.dead.is_set() or (counts and not self._doom.passes(f"before {what}")):
            return _abort(request)
        answer = await super()._handle(request)
        if self._doom.dead.is_set() or (counts and not self._doom.passes(f"after {what}")):
            return _abort(request)
        return answer


def _abort(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


class Doomed:
    """A provider behind the gate."""

    def __init__(self, provider: Provider, doom: Doom) -> None:
        self._provider, self._doom = provider, doom

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._provider, name)
        return self._guarded(name, attribute) if asyncio.iscoroutinefunction(attribute) else attribute

    def _guarded(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def guarded(*arguments: Any) -> Any:
            if not self._doom.passes(f"before {name}"):
                raise ProviderError("the controller is dead")
            try:
                return await call(*arguments)
            finally:
                if not self._doom.passes(f"after {name}"):
                    raise ProviderError("the controller is dead")

        return guarded


async def play_until_doom(
    plane: RunningControlPlane, stage: Stage, doom: Doom, story: Coroutine[Any, Any, object]
) -> None:
    """Run a controller behind the gate until the story is over or the gate has closed.

    What the story raises is raised.
    """
    gate = Gate(plane.kubeconfig, doom)
    async with gate.running():
        watching = asyncio.create_task(gate.watch_doom())
        provider = Doomed(stage.cloud, doom)
        try:
            async with stage.controller(credentials=Credentials(server=gate.url), provider=provider):  # type: ignore[arg-type]
                playing = asyncio.create_task(story)
                await asyncio.wait({playing, watching}, return_when=asyncio.FIRST_COMPLETED)
                await _stop(playing)
        finally:
            await _stop(watching)


async def _stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, Exception):
        raise outcome
