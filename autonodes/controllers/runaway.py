"""The breaker against runaway creation: a pool whose new nodes are spoiled one after the other stops buying.

Which nodes are, and how many are too many, is `autonodes.core.spoiling`'s decision. A spoiled node counts as long as it
is there, and for :data:`REMEMBERED` seconds after it was first seen; so a pool that gives empty nodes back at once does
not go round in circles either. When the cause is gone, or the nodes are, purchases go on by themselves. What was seen
of nodes that are gone is forgotten with the process.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from autonodes.api.conditions import find_condition
from autonodes.api.nodeclaim import INITIALIZED, NodeClaim
from autonodes.api.nodepool import NODES_USABLE
from autonodes.api.objects import timestamp
from autonodes.controllers.claims import deleted_at
from autonodes.core.clock import Clock
from autonodes.core.errors import ConfigError
from autonodes.core.spoiling import spoiled, too_many
from autonodes.kube.cluster import ClusterState

REMEMBERED: Final = 600.0


@dataclass(frozen=True, slots=True)
class _Stopped:
    """By an earlier process.

    :param until: seconds since the epoch
    """

    why: str
    until: float


@dataclass(frozen=True, slots=True)
class _Spoiled:
    pool: str
    name: str
    why: str
    seen_at: float


class Runaway:
    """:param patience: seconds after its initialization in which a node is not judged: taints may still be taken off
    :param changed: called with a pool's name when its purchases stop or go on
    """

    def __init__(
        self,
        state: ClusterState,
        clock: Clock,
        *,
        patience: float = 30.0,
        changed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._state, self._clock, self._patience = state, clock, patience
        self.changed = changed
        self._seen: dict[str, _Spoiled] = {}
        self._inherited: Mapping[str, _Stopped] | None = None
        self.stopped: Mapping[str, str] = {}
        """Pool → why nothing is bought from it, as of the last `look`."""

    def look(self) -> Mapping[str, str]:
        """See which pools must not buy now: name → why, for people."""
        now = self._clock.now()
        present = dict(self._present(now))
        staying = self._staying()
        gone = {uid: each for uid, each in self._seen.items() if uid not in staying}
        self._seen = {
            **{uid: each for uid, each in gone.items() if now < each.seen_at + REMEMBERED},
            **{uid: self._seen.get(uid, each) for uid, each in present.items()},
        }
        before, self.stopped = self.stopped, {**self._still_stopped(now), **self._judged()}
        for pool in before.keys() ^ self.stopped.keys():
            self.changed(pool)
        return self.stopped

    def _still_stopped(self, now: float) -> Mapping[str, str]:
        """What an earlier process has left, as the pools said when this one began."""
        if self._inherited is None:
            self._inherited = {name: found for name in self._state.nodepools.items if (found := self._left(name))}
        return {pool: each.why for pool, each in self._inherited.items() if now < each.until}

    def _left(self, name: str) -> _Stopped | None:
        pool = self._state.nodepools.items[name]
        known = find_condition(pool.status.conditions, NODES_USABLE)
        if known is None or known.status != "False":
            return None
        return _Stopped(known.message, (timestamp(known.last_transition_time) or 0.0) + REMEMBERED)

    def _staying(self) -> set[str]:
        claims = self._state.nodeclaims.items.values()
        return {claim.metadata.uid for claim in claims if deleted_at(claim) is None}

    def _present(self, now: float) -> Iterator[tuple[str, _Spoiled]]:
        for claim in self._state.nodeclaims.items.values():
            node = self._state.nodes.get(claim.name)
            if node is None or claim.status.last_pod_event_time or not self._is_judged(claim, now):
                continue
            try:
                why = spoiled(node, claim.to_model(), self._state.pods_on(node.name).values(), now)
            except ConfigError:
                continue  # somebody wrote it by hand
            if why:
                yield claim.metadata.uid, _Spoiled(claim.pool, claim.name, why, now)

    def _is_judged(self, claim: NodeClaim, now: float) -> bool:
        """One that goes already is judged as it is: an empty node may be given back before the patience is over."""
        since = find_condition(claim.status.conditions, INITIALIZED)
        if since is None or since.status != "True":
            return False
        return deleted_at(claim) is not None or now >= (timestamp(since.last_transition_time) or 0.0) + self._patience

    def _judged(self) -> Mapping[str, str]:
        sizes = Counter(claim.pool for claim in self._state.nodeclaims.items.values())
        of_pool: dict[str, list[_Spoiled]] = defaultdict(list)
        for each in self._seen.values():
            of_pool[each.pool].append(each)
        return {pool: _told(found) for pool, found in of_pool.items() if too_many(len(found), sizes[pool])}


def _told(found: list[_Spoiled]) -> str:
    last = max(found, key=lambda each: (each.seen_at, each.name))
    return (
        f"{len(found)} new nodes could not be used by the pods that they were bought for ({last.name}: {last.why}): "
        "nothing more is bought until that is mended"
    )
