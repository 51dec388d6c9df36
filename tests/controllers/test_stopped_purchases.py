"""That purchases were stopped outlives the process that stopped them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from autonodes.api.nodepool import NodePool
from autonodes.controllers.claims import shown
from autonodes.controllers.runaway import REMEMBERED, Runaway
from autonodes.core.model import Node, Taint
from clock import VirtualClock
from controllers.claimbook import claim

WHY = "3 new nodes could not be used"


def _pool(status: str, since: float) -> NodePool:
    told = {"type": "NodesUsable", "status": status, "reason": "Stopped", "message": WHY}
    template = {
        "spec": {
            "requirements": [],
            "nodeClassRef": {"group": "autonodes.io", "kind": "LocalNodeClass", "name": "default"},
        }
    }
    return NodePool.from_api(
        {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": {"name": "default", "uid": "1"},
            "spec": {"template": template},
            "status": {"conditions": [told | {"lastTransitionTime": shown(since)}]},
        }
    )


def _successor(clock: VirtualClock, pool: NodePool) -> Runaway:
    nothing: Any = SimpleNamespace(items={})
    state = SimpleNamespace(nodepools=SimpleNamespace(items={"default": pool}), nodeclaims=nothing, nodes=nothing)
    return Runaway(cast(Any, state), clock)


async def test_a_successor_buys_nothing_from_a_pool_that_was_stopped_a_moment_ago_and_goes_on_in_time() -> None:
    clock = VirtualClock()
    runaway = _successor(clock, _pool("False", clock.now()))
    assert runaway.look() == {"default": WHY}
    await clock.advance(REMEMBERED - 1)
    assert runaway.look() == {"default": WHY}
    await clock.advance(1)
    assert runaway.look() == {}


@pytest.mark.parametrize(("status", "ago"), [("True", 0.0), ("False", REMEMBERED)])
def test_what_is_mended_or_long_ago_stops_nothing(status: str, ago: float) -> None:
    clock = VirtualClock()
    assert _successor(clock, _pool(status, clock.now() - ago)).look() == {}


@pytest.mark.parametrize(
    ("taints", "stops"), [((Taint("foreign"),), True), ((Taint("karpenter.sh/disrupted"),), False)]
)
async def test_nodes_that_are_given_back_before_the_patience_is_over_count_if_somebody_spoiled_them(
    taints: tuple[Taint, ...], stops: bool
) -> None:
    clock = VirtualClock()
    now = clock.now()
    going = {}
    for number in range(3):
        one = claim("Launched", "Registered", "Initialized", since=now, created=now, deleted=now)
        going[f"n{number}"] = one.model_copy(update={"metadata": one.metadata.model_copy(update={"uid": f"u{number}"})})
    nodes = {name: Node(name=name, ready=True, taints=taints) for name in going}
    state = SimpleNamespace(
        nodepools=SimpleNamespace(items={}),
        nodeclaims=SimpleNamespace(items=going),
        nodes=SimpleNamespace(get=lambda _: next(iter(nodes.values()))),
        pods_on=lambda _: {},
    )
    assert bool(Runaway(cast(Any, state), clock, patience=30.0).look()) is stops
