"""So many at once, and then so many in a time: the token bucket."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """:param tokens: how many may be taken at once now
    :param filled: when that was so, in seconds
    """

    tokens: float
    filled: float

    def take(self, now: float, *, burst: float, per_second: float) -> bool:
        """Whether there was one to take.

        :param burst: how many it holds
        :param per_second: how many come back
        """
        self.tokens = min(burst, self.tokens + max(0.0, now - self.filled) * per_second)
        self.filled = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
