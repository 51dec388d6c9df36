"""Whether a pool's machines become nodes: its last four launches, and unhealthy when half of them failed.

It warns and stops nothing: a pool whose image is broken would else never be tried again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

_REMEMBERED: Final = 4
_FAILURES: Final = 2


class RegistrationHealth:
    """Known by the pool's name, forgotten with the process.

    :param changed: called with the pool's name when its health may be another
    """

    def __init__(self, changed: Callable[[str], None] = lambda _: None) -> None:
        self.changed = changed
        self._outcomes: dict[str, deque[bool]] = {}

    def record(self, pool: str, *, joined: bool) -> None:
        """A machine of the pool became a node, or did not in time."""
        if pool:
            self._outcomes.setdefault(pool, deque(maxlen=_REMEMBERED)).append(joined)
            self.changed(pool)

    def healthy(self, pool: str) -> bool | None:
        """None if nothing is known."""
        outcomes = self._outcomes.get(pool)
        return None if not outcomes else outcomes.count(False) < _FAILURES

    def start_afresh(self, pool: str) -> None:
        """The pool or its node class changed: what was seen before says nothing."""
        self._outcomes.pop(pool, None)
