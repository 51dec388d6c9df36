"""Death at the n-th step: a gate between the controller and the world that closes for ever.

Everything the controller does to the outside passes here: each request that changes something in the API server (kopf's
included; Events and the Lease are not counted, their times are their own) and each call of the provider. Every one is
two steps, before it has an effect and after it, when its answer is lost. When the gate has closed nothing passes any
more, in either direction: for the world the controller is dead, whatever its remains still try.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from autonodes.provider import Provider, ProviderError
from autonodes.verify.faultproxy import FaultProxy, abort

_UNCOUNTED: Final = ("/events", "/leases")


class Doom:
    """:param step: the step at which to die, counted from 1; 0 for never"""

    def __init__(self, step: int) -> None:
        self._step = step
        self.steps = 0
        self.dead = asyncio.Event()
        self.last = ""

    @property
    def is_armed(self) -> bool:
        return self._step > self.steps

    def arm(self, steps: int) -> None:
        """Die so many steps from now."""
        self._step = self.steps + steps

    def strike(self, what: str) -> None:
        """Die now."""
        self.last = what
        self.dead.set()

    def passes(self, what: str) -> bool:
        """One more step; whether the controller lives on after it."""
        if self.dead.is_set():
            return False
        self.steps += 1
        if self.steps == self._step:
            self.strike(what)
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
            return abort(request)
        answer = await super()._handle(request)
        if self._doom.dead.is_set() or (counts and not self._doom.passes(f"after {what}")):
            return abort(request)
        return answer


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
                answer = await call(*arguments)
            except Exception:
                self._leave(name)
                raise
            self._leave(name)
            return answer

        return guarded

    def _leave(self, name: str) -> None:
        if not self._doom.passes(f"after {name}"):
            raise ProviderError("the controller is dead")
