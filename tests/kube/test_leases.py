"""Leadership: two electors and one Lease on a real API server, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from autonodes.kube.client import KubeClient
from autonodes.kube.leases import LEASE_DURATION, RENEW_DEADLINE, RETRY_PERIOD, LeaderElection, new_identity
from autonodes.kube.resources import LEASES
from autonodes.kube.transport import Transport
from autonodes.verify.faultproxy import FaultProxy
from clock import VirtualClock
from controlplane import RunningControlPlane
from kube.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def second_client(api: RunningControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(api.kubeconfig) as client:
        yield client


def elector(client: KubeClient, namespace: str, identity: str, clock: VirtualClock) -> LeaderElection:
    return LeaderElection(client, "controller", namespace, identity, clock)


async def holder(client: KubeClient, namespace: str) -> str:
    return str((await client.get(LEASES, "controller", namespace))["spec"]["holderIdentity"])


class Flights:
    """Counts requests in flight, so that virtual time waits for real answers."""

    def __init__(self) -> None:
        self.count = 0
        self.hung = 0


_flights = Flights()


@pytest.fixture(autouse=True)
def _count_flights(monkeypatch: pytest.MonkeyPatch) -> None:
    once = Transport._once

    async def counted(self: Transport, *arguments: Any, **options: Any) -> bytes:
        _flights.count += 1
        try:
            return await once(self, *arguments, **options)
        finally:
            _flights.count -= 1

    monkeypatch.setattr(Transport, "_once", counted)
    _flights.hung = 0


async def pass_time(clock: VirtualClock, seconds: float) -> None:
    """Second by second, each when all requests of the one before are answered."""
    for _ in range(int(seconds)):
        await clock.advance(1)
        for _ in range(3):  # an answer can lead to the next request
            await until(lambda: _flights.count <= _flights.hung)
            await clock.advance(0)


async def acquired(election: LeaderElection, clock: VirtualClock) -> None:
    task = asyncio.ensure_future(election.acquire())
    while not task.done():
        await pass_time(clock, 1)
    await task


async def test_the_first_one_leads_and_the_second_one_waits(
    client: KubeClient, second_client: KubeClient, namespace: str, clock: VirtualClock
) -> None:
    first = elector(client, namespace, "a", clock)
    second = elector(second_client, namespace, "b", clock)
    async with first:
        waiting = asyncio.ensure_future(second.acquire())
        await pass_time(clock, 3 * LEASE_DURATION)
        assert first.is_leader
        assert not first.lost.is_set()
        assert not waiting.done()
        assert not second.is_leader
        assert second.holder == "a"
    assert not first.is_leader
    await pass_time(clock, RETRY_PERIOD)
    await until(waiting.done)
    assert await holder(client, namespace) == "b"
    assert (await client.get(LEASES, "controller", namespace))["spec"]["leaseTransitions"] == 1
    await second.release()
    assert await holder(client, namespace) == ""


async def test_a_leader_that_falls_silent_is_replaced_after_the_lease_and_not_before(
    client: KubeClient, namespace: str, clock: VirtualClock
) -> None:
    first, second = (elector(client, namespace, name, clock) for name in "ab")
    await first.acquire()
    await first._stop_keeping()  # as a crash does: nothing is released
    waiting = asyncio.ensure_future(second.acquire())
    await pass_time(clock, LEASE_DURATION - 1)
    assert not waiting.done()
    await pass_time(clock, RETRY_PERIOD + 2)
    await until(waiting.done)
    assert second.is_leader
    await second.release()


def test_a_restarted_process_is_another_one() -> None:
    assert new_identity() != new_identity()


async def test_a_leader_that_can_not_renew_gives_up_before_anyone_takes_over(
    proxy: FaultProxy,
    client: KubeClient,
    namespace: str,
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with proxy.client() as through:
        first = elector(through, namespace, "a", clock)
        second = elector(client, namespace, "b", clock)
        await first.acquire()
        waiting = asyncio.ensure_future(second.acquire())
        await pass_time(clock, 4)
        proxy.refuse_next(503, times=10_000)
        await pass_time(clock, RENEW_DEADLINE + 1)
        assert first.lost.is_set()
        assert not first.is_leader
        assert f"a no longer leads: Lease {namespace}/controller was not renewed for 10 s" in caplog.text
        assert not waiting.done(), "nobody else leads yet"
        await pass_time(clock, LEASE_DURATION - RENEW_DEADLINE + RETRY_PERIOD)
        await until(waiting.done)
        proxy.stop_refusing()
        await first.release()
        assert await holder(client, namespace) == "b", "a late release takes nothing from the new leader"
        await second.release()


async def test_a_server_that_hangs_does_not_hold_the_leader_in_office(
    client: KubeClient, proxy: FaultProxy, namespace: str, clock: VirtualClock
) -> None:
    async with proxy.client() as through:
        first = elector(through, namespace, "a", clock)
        await first.acquire()
        proxy.hang()
        _flights.hung = 1
        await pass_time(clock, RENEW_DEADLINE + 1)
        assert first.lost.is_set()
        proxy.stop_hanging()
        await first.release()


async def test_a_suspended_process_knows_by_the_clock_that_it_leads_no_more(
    client: KubeClient, namespace: str, clock: VirtualClock
) -> None:
    first = elector(client, namespace, "a", clock)
    await first.acquire()
    clock._now += RENEW_DEADLINE  # time has passed and no task has run
    assert not first.is_leader
    await first.release()


async def test_a_lease_that_somebody_else_took_is_lost_at_once(
    client: KubeClient, namespace: str, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    first = elector(client, namespace, "a", clock)
    await first.acquire()
    await client.merge_patch(LEASES, "controller", {"spec": {"holderIdentity": "thief"}}, namespace)
    await pass_time(clock, RETRY_PERIOD)
    await until(first.lost.is_set)
    assert first.holder == "thief"
    assert f"a no longer leads: Lease {namespace}/controller is held by 'thief'" in caplog.text
    await first.release()
    assert await holder(client, namespace) == "thief"


async def test_of_two_that_reach_for_a_free_lease_one_gets_it(
    client: KubeClient, second_client: KubeClient, namespace: str, clock: VirtualClock
) -> None:
    electors = [elector(client, namespace, "a", clock), elector(second_client, namespace, "b", clock)]
    waiting = [asyncio.ensure_future(each.acquire()) for each in electors]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await pass_time(clock, 3 * RETRY_PERIOD)
    assert sum(each.is_leader for each in electors) == 1
    for task in waiting:
        task.cancel()
    for each in electors:
        await each.release()


async def test_leadership_can_be_taken_again_after_it_was_lost(
    client: KubeClient, namespace: str, clock: VirtualClock
) -> None:
    first = elector(client, namespace, "a", clock)
    await first.acquire()
    await client.merge_patch(LEASES, "controller", {"spec": {"holderIdentity": "thief"}}, namespace)
    await pass_time(clock, RETRY_PERIOD)
    await until(first.lost.is_set)
    await acquired(first, clock)
    assert first.is_leader
    assert not first.lost.is_set()
    await first.release()


def test_periods_that_make_no_sense_are_refused(client: KubeClient, clock: VirtualClock) -> None:
    with pytest.raises(ValueError, match="renew_deadline"):
        LeaderElection(client, "x", "y", "z", clock, renew_deadline=20.0)
