"""What the controller's planner sees, for somebody who only looks: nothing is written, no leadership is needed.

The caches are filled once, those that only some pods need included, and a snapshot is taken by the same code. What the
controller alone remembers is taken from where it writes it down: promises from ``status.nominatedNodeName``, the last
pod events from the claims (to about ten seconds).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from autonodes.api.nodeclaim import DRIFTED
from autonodes.controllers.freeze import Freeze, FrozenError
from autonodes.controllers.nodeoverlays import NodeOverlays
from autonodes.controllers.podevents import PodEvents
from autonodes.controllers.providers import Providers
from autonodes.controllers.replacements import underway
from autonodes.controllers.roomkeeping import RoomKeeping
from autonodes.controllers.runaway import Runaway
from autonodes.controllers.settings import ControllerSettings
from autonodes.controllers.snapshots import Snapshots
from autonodes.core.availability import Availability
from autonodes.core.clock import Clock
from autonodes.core.disruption import Circumstances
from autonodes.core.model import PodUID
from autonodes.core.recording import Recording
from autonodes.core.shapes import is_planned
from autonodes.kube.cache import Cache
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.resources import node_class
from autonodes.provider import Provider

_POLL: Final = 0.05
"""Seconds between two looks at whether all caches are filled."""


async def look(
    client: KubeClient,
    providers: Mapping[str, Provider],
    *,
    settings: ControllerSettings,
    clock: Clock,
    patience: float = 20.0,
) -> Recording:
    """:param providers: by the kind of their node class; they need not be started
    :param settings: the controller's
    :param patience: seconds until it is given up
    :raises FrozenError: not all can be seen in time
    """
    state = ClusterState(client, clock)
    classes: dict[str, Cache[dict[str, Any]]] = {
        kind: Cache(client, node_class(kind), msgspec.json.decode, clock) for kind in providers
    }
    sources = Providers(providers, classes)
    overlays = NodeOverlays(client, state, sources, clock)
    buffers = RoomKeeping(client, state, clock)
    freeze = Freeze(state, clock, lambda: True)
    snapshots = Snapshots(
        state,
        sources,
        overlays,
        buffers,
        freeze,
        clock,
        availability=Availability(),
        runaway=Runaway(state, clock),
        settings=settings,
    )
    async with _filled(state, classes, clock, patience):
        await buffers.look_once()
        view = await snapshots.take(_promises(state))
    return Recording(
        snapshot=view.snapshot, facts=_facts(state, PodEvents(client, state, clock)), left_out=view.left_out
    )


def _facts(state: ClusterState, events: PodEvents) -> Circumstances:
    claims = state.nodeclaims.items
    commands = underway(claims.values())
    return Circumstances(
        pod_events={name: events.last(claim) for name, claim in sorted(claims.items())},
        drifted=frozenset(name for name, claim in claims.items() if claim.condition(DRIFTED)),
        budgets=state.disruption_budgets(),
        busy=frozenset(name for each in commands for name in (*each.goes, *(new.name for new in each.replacements))),
    )


@asynccontextmanager
async def _filled(
    state: ClusterState, classes: Mapping[str, Cache[Any]], clock: Clock, patience: float
) -> AsyncIterator[None]:
    """The caches, kept as long as the block lasts and filled at its beginning."""
    running = [asyncio.create_task(state.run()), *(asyncio.create_task(each.run()) for each in classes.values())]
    try:
        try:
            async with asyncio.timeout(patience):
                await _until_filled(state, classes, clock)
        except TimeoutError:
            raise FrozenError(state.stale(clock.now()) or ["the API server does not answer"]) from None
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _until_filled(state: ClusterState, classes: Mapping[str, Cache[Any]], clock: Clock) -> None:
    await state.synced()
    for cache in classes.values():
        await cache.synced()
    while not state.fresh(clock.now()):
        await clock.sleep(_POLL)


def _promises(state: ClusterState) -> dict[PodUID, str]:
    places = {*state.nodes.items, *state.nodeclaims.items}
    return {
        pod.uid: pod.nominated_node
        for pod in state.pending.values()
        if is_planned(pod) and pod.nominated_node in places
    }
