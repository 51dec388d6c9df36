"""The freeze rule: what can't be counted is neither bought nor destroyed.

Asked right before anything that can't be taken back. It freezes and thaws by itself: with the API server's silence, a
cache that has not been filled yet, or the loss of the Lease.
"""

from __future__ import annotations

from collections.abc import Callable

from autonodes.core.clock import Clock
from autonodes.core.errors import AutonodesError
from autonodes.kube.cluster import ClusterState


class FrozenError(AutonodesError):
    """Not now: something can't be counted. Try again later.

    :param reasons: what it is, one line each
    """

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        return f"nothing is bought or destroyed now: {'; '.join(self.reasons)}"


class Freeze:
    """:param is_leader: whether no other controller may act"""

    def __init__(self, state: ClusterState, clock: Clock, is_leader: Callable[[], bool]) -> None:
        self._state, self._clock, self._is_leader = state, clock, is_leader

    def reasons(self) -> list[str]:
        """Why nothing may be done; empty if it may."""
        stale = self._state.stale(self._clock.now())
        return stale if self._is_leader() else [*stale, "another controller may be the leader"]

    def check(self) -> None:
        """:raises FrozenError: nothing may be done now"""
        if reasons := self.reasons():
            raise FrozenError(reasons)
