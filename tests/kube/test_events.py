"""Events as the API server holds them after the recorder has written them."""

from __future__ import annotations

from typing import Any

import pytest

from autonodes.core.model import Node, Pod, PodUID
from autonodes.kube.client import KubeClient
from autonodes.kube.events import (
    ATTEMPTS,
    BURST,
    LONGEST_MESSAGE,
    QUEUE,
    REFILL,
    SIMILAR,
    EventRecorder,
    ObjectReference,
)
from autonodes.kube.resources import EVENTS
from autonodes.verify.faultproxy import FaultProxy
from clock import VirtualClock
from kube.waiting import running, until

pytestmark = pytest.mark.integration


def reference(namespace: str, name: str = "web") -> ObjectReference:
    return ObjectReference("Pod", name, namespace, "uid-1")


async def written(client: KubeClient, namespace: str) -> list[dict[str, Any]]:
    return sorted(await client.list(EVENTS, namespace), key=lambda event: event["message"])


async def test_an_event_names_object_reason_and_reporter(client: KubeClient, namespace: str) -> None:
    recorder = EventRecorder(client, VirtualClock(), component="autonodes", instance="one")
    async with running(recorder.run()):
        recorder.record(reference(namespace), type="Warning", reason="FailedScheduling", message="no room")
        await recorder.flush()
    (event,) = await written(client, namespace)
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "FailedScheduling", "no room")
    assert event["involvedObject"]["name"] == "web"
    assert event["source"]["component"] == "autonodes"
    assert event["count"] == 1


async def test_the_same_event_is_counted_and_not_written_again(client: KubeClient, namespace: str) -> None:
    clock = VirtualClock()
    recorder = EventRecorder(client, clock)
    async with running(recorder.run()):
        for _ in range(3):
            recorder.record(reference(namespace), reason="Nominated", message="goes to a")
            await recorder.flush()
            await clock.advance(60)
    (event,) = await written(client, namespace)
    assert event["count"] == 3
    assert event["firstTimestamp"] < event["lastTimestamp"]


async def test_what_piles_up_before_it_is_written_is_one_write(proxy: FaultProxy, namespace: str) -> None:
    async with proxy.client() as through:
        recorder = EventRecorder(through, VirtualClock())
        for _ in range(20):
            recorder.record(reference(namespace), reason="Nominated", message="goes to a")
        async with running(recorder.run()):
            await recorder.flush()
        (event,) = await written(through, namespace)
    assert event["count"] == 20
    assert next(request for request in proxy.requests if "events" in request).startswith("POST")
    assert sum(request.startswith(("POST", "PATCH")) for request in proxy.requests) == 1


async def test_many_similar_events_become_one(client: KubeClient, namespace: str) -> None:
    recorder = EventRecorder(client, VirtualClock())
    async with running(recorder.run()):
        for index in range(SIMILAR + 5):
            recorder.record(reference(namespace), reason="FailedScheduling", message=f"try {index}")
            await recorder.flush()
    events = await written(client, namespace)
    assert len(events) == SIMILAR + 1
    assert events[0]["message"] == f"(combined from similar events): try {SIMILAR + 4}"
    assert events[0]["count"] == 5


async def test_an_object_that_talks_too_much_is_silenced_for_a_while(client: KubeClient, namespace: str) -> None:
    clock = VirtualClock()
    recorder = EventRecorder(client, clock)
    async with running(recorder.run()):
        for index in range(BURST + 10):
            recorder.record(reference(namespace), reason=f"Reason{index}", message="x")
        await recorder.flush()
        assert len(await written(client, namespace)) == BURST
        recorder.record(reference(namespace, "other"), reason="Nominated", message="y")
        await recorder.flush()
        assert len(await written(client, namespace)) == BURST + 1
        await clock.advance(REFILL)
        recorder.record(reference(namespace), reason="Later", message="z")
        await recorder.flush()
    assert len(await written(client, namespace)) == BURST + 2


async def test_an_event_that_the_server_forgot_is_written_anew(client: KubeClient, namespace: str) -> None:
    recorder = EventRecorder(client, VirtualClock())
    async with running(recorder.run()):
        recorder.record(reference(namespace), reason="Nominated", message="x")
        await recorder.flush()
        (event,) = await written(client, namespace)
        await client.delete(EVENTS, event["metadata"]["name"], namespace)
        recorder.record(reference(namespace), reason="Nominated", message="x")
        await recorder.flush()
    (event,) = await written(client, namespace)
    assert event["count"] == 2


async def test_a_lost_answer_makes_no_second_event(proxy: FaultProxy, client: KubeClient, namespace: str) -> None:
    clock = VirtualClock()
    async with proxy.client() as through:
        recorder = EventRecorder(through, clock)
        proxy.lose_answers = True
        async with running(recorder.run()):
            recorder.record(reference(namespace), reason="Nominated", message="x")
            await until(lambda: len(proxy.requests) == 1)
            while len(await written(client, namespace)) < 1:
                pass
            proxy.lose_answers = False
            while len(proxy.requests) < 2:
                await clock.advance(1)
            await recorder.flush()
    assert len(await written(client, namespace)) == 1
    assert recorder.dropped == 0


async def test_a_server_that_refuses_costs_events_and_nothing_else(
    proxy: FaultProxy, client: KubeClient, namespace: str
) -> None:
    clock = VirtualClock()
    async with proxy.client() as through:
        recorder = EventRecorder(through, clock)
        proxy.refuse_next(503, times=ATTEMPTS)
        async with running(recorder.run()):
            recorder.record(reference(namespace), reason="Lost", message="x")
            recorder.record(reference("no-such-namespace"), reason="Refused", message="x")
            recorder.record(reference(namespace), reason="Kept", message="x")
            while recorder.dropped < 2:
                await clock.advance(1)
            await recorder.flush()
    assert [event["reason"] for event in await written(client, namespace)] == ["Kept"]


async def test_a_full_queue_drops_and_never_waits(client: KubeClient) -> None:
    recorder = EventRecorder(client, VirtualClock())
    for index in range(QUEUE + 7):
        recorder.record(reference("default", f"pod-{index}"), reason="Nominated", message="x")
    assert recorder.dropped == 7


async def test_events_of_nodes_live_in_the_default_namespace(client: KubeClient) -> None:
    recorder = EventRecorder(client, VirtualClock())
    about = ObjectReference.of_node(Node(name="n" * 250, uid="uid-of-node"))
    async with running(recorder.run()):
        recorder.record(about, reason="Testing", message="m" * 5000)
        await recorder.flush()
    assert recorder.dropped == 0
    (event,) = await client.list(EVENTS, "default", field_selector="involvedObject.uid=uid-of-node")
    assert len(event["message"]) == LONGEST_MESSAGE


def test_references_are_made_of_what_is_at_hand() -> None:
    body = {"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "a", "uid": "u"}}
    assert ObjectReference.of(body) == ObjectReference("NodeClaim", "a", "", "u", "karpenter.sh/v1")
    pod = Pod(uid=PodUID("u"), namespace="ns", name="p", requests={})
    assert ObjectReference.of_pod(pod) == ObjectReference("Pod", "p", "ns", "u")
