"""Time, injected: nothing in this project asks the system for it but the one real clock."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return ``seconds`` later by this clock."""
        ...
