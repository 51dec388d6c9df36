"""A caller that dies in the middle: its call gets so far, and nobody hears of it again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Final

STEPS: Final = (0, 1, 2, 3, 5, 8, 13, 21)
"""After how many waits a call is cut off: close together where most is decided."""


class CutOff:
    """Awaited, it runs a call until it has waited ``after`` times, and then ends it there.

    ``finished`` says whether the call came to its end before.
    """

    def __init__(self, call: Coroutine[Any, Any, object], after: int) -> None:
        self._call, self._after = call, after
        self.finished = False

    def __await__(self) -> Generator[Any, Any, None]:
        waits = 0
        while True:
            try:
                waited_for = self._call.send(None)
            except StopIteration:
                self.finished = True
                return
            if waits == self._after:
                self._end(waited_for)
                return
            waits += 1
            yield waited_for

    def _end(self, waited_for: object) -> None:
        if isinstance(waited_for, asyncio.Future):
            waited_for.cancel()
        try:
            self._call.throw(asyncio.CancelledError())
        except (asyncio.CancelledError, StopIteration):
            return
        self._call.close()  # it wants to wait while it cleans up: a dead caller does not
