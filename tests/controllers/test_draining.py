"""Whom a drain waits for, in which order, and what happens near its deadline."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from autonodes.controllers.draining import Drain, first_group, holds_drain
from autonodes.controllers.settings import ControllerSettings
from autonodes.core.model import Pod, PodUID, Toleration
from autonodes.core.storage import PodVolume
from autonodes.kube.errors import ApiError, ServerError, TooManyRequestsError
from clock import VirtualClock

SYSTEM_CRITICAL = 2_000_000_000


def pod(name: str, **fields: Any) -> Pod:
    given = {"namespace": "default", "requests": {}, "node_name": "node", "phase": "Running", **fields}
    return Pod(uid=PodUID(name), name=name, **given)


class Server:
    """Answers evictions as it is told, and writes down what it was asked."""

    def __init__(self, **refusals: ApiError) -> None:
        self.refusals = refusals
        self.evicted: list[str] = []
        self.asked: list[str] = []
        self.deleted: list[tuple[str, float]] = []

    async def evict(self, name: str, namespace: str, *, uid: str) -> None:
        self.asked.append(name)
        if name in self.refusals:
            raise self.refusals[name]
        self.evicted.append(name)

    async def delete(self, resource: Any, name: str, namespace: str, *, uid: str, grace_period: float) -> None:
        self.deleted.append((name, grace_period))


@dataclass
class Told:
    reasons: list[tuple[str, str]] = field(default_factory=list)

    def record(self, reference: Any, *, reason: str, message: str, type: str = "Normal") -> None:
        self.reasons.append((reference.name, reason))


class Storage:
    """Counts a pod's volume as attached until it is told that it came off."""

    def __init__(self, *attached: str) -> None:
        self.on = set(attached)

    async def attached(self, node_name: str, *, staying: Collection[str]) -> tuple[str, ...]:
        return tuple(sorted(self.on - {key.removeprefix("default/") for key in staying}))


def drain(server: Server, clock: VirtualClock, told: Told | None = None, storage: Storage | None = None) -> Drain:
    return Drain(
        cast(Any, server), cast(Any, storage or Storage()), cast(Any, told or Told()), clock, ControllerSettings()
    )


@pytest.mark.parametrize(
    ("fields", "holds"),
    [
        ({}, True),
        ({"phase": "Succeeded"}, False),
        ({"phase": "Failed"}, False),
        ({"owner_kind": "Node"}, False),
        ({"annotations": {"kubernetes.io/config.mirror": "4f"}}, False),
        ({"owner_kind": "DaemonSet"}, True),
        ({"tolerations": (Toleration(operator="Exists"),)}, False),
        ({"tolerations": (Toleration("karpenter.sh/disrupted", "Exists"),)}, False),
        ({"tolerations": (Toleration("node.kubernetes.io/unschedulable", "Exists"),)}, True),
        ({"deleted_at": 1000.0}, True),
        ({"deleted_at": 930.0}, False),
        ({"annotations": {"karpenter.sh/do-not-disrupt": "true"}}, True),
    ],
)
def test_a_drain_waits_for_pods_that_can_and_should_leave(fields: dict[str, Any], holds: bool) -> None:
    assert holds_drain(pod("web", **fields), 1000.0) is holds


def test_critical_pods_and_their_daemons_leave_last() -> None:
    web, agent = pod("web"), pod("agent", owner_kind="DaemonSet")
    dns = pod("dns", priority=SYSTEM_CRITICAL)
    cni = pod("cni", priority=SYSTEM_CRITICAL + 1000, owner_kind="DaemonSet")
    left = [cni, dns, agent, web]
    order = []
    while left:
        (group,) = [first_group(left)]
        order.append([each.name for each in group])
        left = [each for each in left if each not in group]
    assert order == [["web"], ["agent"], ["dns"], ["cni"]]


async def test_the_next_group_waits_until_the_last_of_the_one_before_is_gone() -> None:
    server, clock = Server(), VirtualClock()
    draining = drain(server, clock)
    web, going = pod("web"), pod("going", deleted_at=clock.now() + 30)
    dns = pod("dns", priority=SYSTEM_CRITICAL)
    assert not (await draining.step([web, going, dns], None)).done
    assert server.evicted == ["web"]
    assert not (await draining.step([going, dns], None)).done
    assert server.evicted == ["web"]
    assert not (await draining.step([dns], None)).done
    assert server.evicted == ["web", "dns"]
    assert (await draining.step([], None)).done


async def test_a_protected_pod_is_asked_again_later_and_later_and_holds_up_no_other() -> None:
    server, clock = Server(web=TooManyRequestsError("a budget says no")), VirtualClock()
    draining = drain(server, clock)
    pauses = []
    for _ in range(8):
        status = await draining.step([pod("web"), pod("db")], None)
        assert status.protected == ("default/web",)
        pauses.append(status.next_look)
        await clock.advance(status.next_look)
    assert server.asked.count("web") == 8
    assert "db" in server.evicted
    assert pauses[0] <= 0.5
    assert pauses[-1] > pauses[0]
    assert max(pauses) <= ControllerSettings().eviction_backoff_max


async def test_a_pod_with_two_budgets_is_told_and_tried_again() -> None:
    told = Told()
    server, clock = Server(web=ServerError("This pod has more than one PodDisruptionBudget")), VirtualClock()
    status = await drain(server, clock, told).step([pod("web")], None)
    assert not status.done
    assert told.reasons == [("web", "FailedDraining")]


async def test_near_the_deadline_pods_are_deleted_early_enough_for_their_own_grace_period() -> None:
    server, clock = Server(web=TooManyRequestsError("no"), slow=TooManyRequestsError("no")), VirtualClock()
    draining = drain(server, clock)
    pods = [pod("web", grace_period=30), pod("slow", grace_period=300)]
    deadline = clock.now() + 200
    await draining.step(pods, deadline)
    assert server.deleted == [("slow", 200.0)]
    await clock.advance(171)
    await draining.step(pods, deadline)
    assert server.deleted[1:] == [("web", 29.0), ("slow", 29.0)]
    await clock.advance(29)
    assert (await draining.step(pods, deadline)).done


async def test_a_pod_whose_own_grace_period_ends_after_the_deadline_is_shortened() -> None:
    server, clock = Server(), VirtualClock()
    deadline = clock.now() + 60
    await drain(server, clock).step([pod("web", grace_period=600, deleted_at=clock.now() + 600)], deadline)
    assert server.deleted == [("web", 60.0)]


async def test_a_drain_is_not_over_before_the_scheduler_has_seen_the_taint() -> None:
    server, clock = Server(), VirtualClock()
    draining = drain(server, clock)
    assert (await draining.step([], None)).done
    assert draining.settling == ControllerSettings().drain_settle
    await clock.advance(ControllerSettings().drain_settle)
    assert not draining.settling


def with_volume(name: str, **fields: Any) -> Pod:
    return pod(name, volumes=(PodVolume(name="data", claim=name),), **fields)


async def test_pods_with_volumes_leave_one_by_one_each_when_the_volume_of_the_one_before_is_off() -> None:
    server, clock, storage = Server(), VirtualClock(), Storage("a", "b", "c")
    draining = drain(server, clock, storage=storage)
    a, b, c = with_volume("a"), with_volume("b"), with_volume("c")
    await draining.step([pod("web"), a, b, c], None)
    assert sorted(server.evicted) == ["a", "web"]
    await draining.step([with_volume("a", deleted_at=clock.now() + 30), b, c], None)
    assert (await draining.step([b, c], None)).next_look <= 1.0
    assert sorted(server.evicted) == ["a", "web"]
    storage.on.remove("a")
    await draining.step([b, c], None)
    assert server.evicted[-1] == "b"


async def test_a_successor_of_a_killed_drain_sees_whose_turn_it_is() -> None:
    server, clock, storage = Server(), VirtualClock(), Storage("a", "b")
    await drain(server, clock, storage=storage).step([with_volume("b")], None)
    assert not server.evicted
    storage.on.remove("a")
    await drain(server, clock, storage=storage).step([with_volume("b")], None)
    assert server.evicted == ["b"]


async def test_a_volume_that_never_comes_off_holds_the_others_up_for_two_minutes() -> None:
    server, clock, storage = Server(), VirtualClock(), Storage("a", "b")
    draining = drain(server, clock, storage=storage)
    await draining.step([with_volume("b")], None)
    await clock.advance(119)
    await draining.step([with_volume("b")], None)
    assert not server.evicted
    await clock.advance(1)
    await draining.step([with_volume("b")], None)
    assert server.evicted == ["b"]


async def test_a_protected_pod_with_a_volume_lets_the_next_one_go() -> None:
    server, clock = Server(a=TooManyRequestsError("a budget says no")), VirtualClock()
    draining = drain(server, clock, storage=Storage("a", "b"))
    pods = [with_volume("a"), with_volume("b")]
    await draining.step(pods, None)
    await draining.step(pods, None)
    assert server.evicted == ["b"]
