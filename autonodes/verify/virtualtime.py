"""An event loop whose time jumps to the next timer whenever nothing happens, and stands still while something does.

Minutes of back-off pass at once, and what the real API server takes to answer takes no time at all. Time may pass only
when no callback is ready, no socket of this process has anything to read, and `Stillness` says that no answer and no
watch event is on its way from the API server. All sockets but those of the API server lead back into this process
(the gates'), so what is written is there to be read at once.

The limit: a process of its own would be scheduled at other moments. What is explored here are orders of events, not
speeds.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Final, Protocol

EPOCH: Final = 1_700_000_000.0
"""When virtual time begins, in seconds since the epoch."""

_PATIENCE: Final = 20.0
"""Real seconds that something on its way is waited for."""

_POLL: Final = 0.2


class Stillness(Protocol):
    def is_still(self) -> bool:
        """Whether nothing is on its way into this process."""
        ...

    def give_up(self) -> None:
        """What was on its way never came: forget it."""
        ...


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """:ivar stillness: None while time may pass whenever nothing is ready"""

    def __init__(self) -> None:
        self.stillness: Stillness | None = None
        self.threads = 0
        self._jumped = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Seconds since the loop was made, virtual."""
        return self._jumped

    def jump(self, seconds: float) -> None:
        self._jumped += seconds

    def run_in_executor(  # type: ignore[override]  # typeshed's variadics
        self, executor: Executor | None, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        """As ever; time stands still meanwhile."""
        future: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        """Nothing: the controllers in here are not the process, and must not take its signals."""

    def _thread_done(self, _: object) -> None:
        self.threads -= 1

    def may_jump(self) -> bool:
        return not self.threads and (self.stillness is None or self.stillness.is_still())


class _JumpingSelector(selectors.BaseSelector):
    """Where a loop would sleep until its next timer, the time becomes that timer's."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = self._real.select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        began = time.monotonic()
        while timeout is None or not self._loop.may_jump():
            if events := self._real.select(_POLL):
                return events
            if time.monotonic() - began > _PATIENCE and self._loop.stillness is not None:
                self._loop.stillness.give_up()
                began = time.monotonic()
        self._loop.jump(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class LoopClock:
    """The loop's time as a wall clock; each controller's may be wrong by its own ``skew`` seconds."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self.skew = 0.0

    def now(self) -> float:
        return EPOCH + self._loop.time() + self.skew

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
