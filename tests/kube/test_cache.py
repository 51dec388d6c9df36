"""The list+watch cache against a real API server; a proxy cuts, freezes and expires its streams."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from autonodes.controllers.clock import SystemClock
from autonodes.core.clock import Clock
from autonodes.kube.cache import LAST_RETRY, SILENCE, Cache, Change
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import ApiUnreachableError
from autonodes.kube.resources import CONFIGMAPS, NODES
from autonodes.verify.faultproxy import FaultProxy
from clock import VirtualClock
from kube.waiting import running, until

pytestmark = pytest.mark.integration


class ConfigMap(msgspec.Struct):
    data: dict[str, str] = msgspec.field(default_factory=dict)


def decode(raw: bytes) -> ConfigMap:
    decoded = msgspec.json.decode(raw, type=ConfigMap)
    if decoded.data.get("poison"):
        raise ValueError("poisoned")
    return decoded


def make(client: KubeClient, namespace: str, clock: Clock | None = None, **options: Any) -> Cache[ConfigMap]:
    return Cache(client, CONFIGMAPS, decode, clock or SystemClock(), namespace=namespace, **options)


async def put(client: KubeClient, namespace: str, name: str, **data: str) -> None:
    body = {"metadata": {"name": name, "namespace": namespace}, "data": data}
    await client.apply(CONFIGMAPS, body, field_manager="test")


async def truth(client: KubeClient, namespace: str) -> dict[str, dict[str, str]]:
    listed = await client.list(CONFIGMAPS, namespace)
    return {f"{namespace}/{each['metadata']['name']}": each.get("data", {}) for each in listed}


def held(cache: Cache[ConfigMap]) -> dict[str, dict[str, str]]:
    return {key: value.data for key, value in cache.items.items()}


async def test_a_cache_follows_the_server_through_churn(client: KubeClient, namespace: str) -> None:
    for index in range(7):
        await put(client, namespace, f"m{index}", value="0")
    cache = make(client, namespace)
    replayed: dict[str, ConfigMap] = {}

    def replay(change: Change[ConfigMap]) -> None:
        assert replayed.get(change.key) == change.old
        if change.new is None:
            del replayed[change.key]
        else:
            replayed[change.key] = change.new

    cache.subscribe(replay)
    async with running(cache.run()):
        await cache.synced()
        assert len(cache.items) == 7
        writes = [put(client, namespace, f"m{index}", value=str(index)) for index in range(20)]
        deletions = [client.delete(CONFIGMAPS, f"m{index}", namespace) for index in range(0, 20, 3)]
        await asyncio.gather(*writes)
        await asyncio.gather(*deletions)
        await put(client, namespace, "last")
        await until(lambda: f"{namespace}/last" in cache.items)
        assert held(cache) == await truth(client, namespace)
        assert replayed == dict(cache.items)
        assert cache.get(f"{namespace}/m1") == ConfigMap({"value": "1"})
        assert cache.get(f"{namespace}/m0") is None


async def test_a_change_that_the_decoded_value_does_not_show_calls_nobody(client: KubeClient, namespace: str) -> None:
    await put(client, namespace, "one", value="1")
    cache, changes = make(client, namespace), []
    cache.subscribe(changes.append)
    async with running(cache.run()):
        await cache.synced()
        await client.merge_patch(CONFIGMAPS, "one", {"metadata": {"labels": {"a": "b"}}}, namespace)
        await put(client, namespace, "two")
        await until(lambda: len(cache.items) == 2)
    assert [change.key for change in changes] == [f"{namespace}/one", f"{namespace}/two"]


async def test_a_subscriber_that_fails_harms_nobody_else(
    client: KubeClient, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache, changes = make(client, namespace), []

    def fail(change: Change[ConfigMap]) -> None:
        raise RuntimeError("boom")

    cache.subscribe(fail)
    cache.subscribe(changes.append)
    async with running(cache.run()):
        await cache.synced()
        await put(client, namespace, "one")
        await until(lambda: len(changes) == 1)
    assert "boom" in caplog.text


async def test_large_objects_pass_in_small_pieces(proxy: FaultProxy, client: KubeClient, namespace: str) -> None:
    proxy.split_every = 4093
    async with proxy.client() as through:
        cache = make(through, namespace)
        async with running(cache.run()):
            await cache.synced()
            for name in ("a", "b"):
                await put(client, namespace, name, value=name * 700_000)
            await put(client, namespace, "c")
            await until(lambda: len(cache.items) == 3)
    assert len(cache.items[f"{namespace}/b"].data["value"]) == 700_000


async def test_an_object_that_can_not_be_read_is_left_out_and_named(client: KubeClient, namespace: str) -> None:
    await put(client, namespace, "bad", poison="yes")
    await put(client, namespace, "good", value="1")
    cache = make(client, namespace)
    async with running(cache.run()):
        await cache.synced()
        assert list(cache.items) == [f"{namespace}/good"]
        assert cache.malformed == {f"{namespace}/bad": "poisoned"}
        await put(client, namespace, "good", value="1", poison="yes")
        await until(lambda: len(cache.malformed) == 2)
        assert cache.items[f"{namespace}/good"].data == {"value": "1"}, "the last good version stays"
        await put(client, namespace, "bad", value="mended")
        await client.delete(CONFIGMAPS, "good", namespace)
        await until(lambda: not cache.malformed)
        assert held(cache) == await truth(client, namespace)


async def test_a_cut_stream_goes_on_where_it_stopped(proxy: FaultProxy, client: KubeClient, namespace: str) -> None:
    async with proxy.client() as through:
        cache = make(through, namespace)
        async with running(cache.run()):
            await cache.synced()
            await until(lambda: proxy.watches == 1)
            for round_ in range(3):
                proxy.cut_streams()
                await put(client, namespace, f"m{round_}")
                await until(lambda: held(cache).keys() == {f"{namespace}/m{each}" for each in range(round_ + 1)})  # noqa: B023
    assert sum("limit=" in request for request in proxy.requests) == 1, "listed once"


async def test_an_expired_version_is_listed_again_and_the_differences_told(
    proxy: FaultProxy, client: KubeClient, namespace: str
) -> None:
    await put(client, namespace, "kept")
    await put(client, namespace, "gone")
    async with proxy.client() as through:
        cache, changes = make(through, namespace), []
        async with running(cache.run()):
            await cache.synced()
            await until(lambda: proxy.watches == 1)
            cache.subscribe(changes.append)
            kept = cache.items[f"{namespace}/kept"]
            proxy.refuse_next(503)
            proxy.expire_watches = 1
            proxy.cut_streams()
            await client.delete(CONFIGMAPS, "gone", namespace)
            await put(client, namespace, "new")
            await until(lambda: len(changes) == 2 and proxy.watches == 1)
            assert held(cache) == await truth(client, namespace)
            assert cache.items[f"{namespace}/kept"] is kept
    assert {change.key.rpartition("/")[2]: change.new is None for change in changes} == {"gone": True, "new": False}


async def test_an_error_event_in_the_stream_is_understood(proxy: FaultProxy, namespace: str) -> None:
    async with proxy.client() as through:
        cache = make(through, namespace)
        async with running(cache.run()):
            await cache.synced()
            await until(lambda: proxy.watches == 1)
            proxy.inject(b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n')
            await until(lambda: sum("limit=" in request for request in proxy.requests) == 2)


async def test_a_bookmark_moves_the_place_where_the_next_watch_starts(
    proxy: FaultProxy, client: KubeClient, namespace: str
) -> None:
    async with proxy.client() as through:
        cache = make(through, namespace)
        async with running(cache.run()):
            await cache.synced()
            await until(lambda: proxy.watches == 1)
            elsewhere = await client.create(NODES, {"metadata": {"name": f"far-{namespace}"}})
            version = elsewhere["metadata"]["resourceVersion"]
            bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}
            proxy.inject(msgspec.json.encode(bookmark) + b"\n")
            await until(lambda: cache._resource_version == version)
            proxy.cut_streams()
            await until(lambda: f"resourceVersion={version}&" in proxy.requests[-1] and proxy.watches == 1)
    await client.delete(NODES, f"far-{namespace}")


async def test_a_stream_that_makes_no_sense_is_opened_again(
    proxy: FaultProxy, client: KubeClient, namespace: str
) -> None:
    async with proxy.client() as through:
        cache = make(through, namespace)
        async with running(cache.run()):
            await cache.synced()
            for garbage in (b"<html>\n", b'{"type":"ADDED","object":{}}\n', b'{"type":"BOOKMARK","object":[]}\n'):
                await until(lambda: proxy.watches == 1)
                seen = len(proxy.requests)
                proxy.inject(garbage)
                await until(lambda: len(proxy.requests) > seen)  # noqa: B023
            await put(client, namespace, "one")
            await until(lambda: held(cache) == {f"{namespace}/one": {}})


async def test_a_frozen_watch_is_noticed_and_replaced(proxy: FaultProxy, client: KubeClient, namespace: str) -> None:
    clock = VirtualClock()
    async with proxy.client() as through:
        cache = make(through, namespace, clock)
        async with running(cache.run()):
            await cache.synced()
            await until(lambda: proxy.watches == 1)
            proxy.freeze()
            await put(client, namespace, "unheard")
            await clock.advance(SILENCE - 1)
            assert cache.age(clock.now()) == pytest.approx(SILENCE - 1)
            assert not cache.items
            await clock.advance(2)
            assert isinstance(cache.failure, ApiUnreachableError)
            proxy.thaw()
            await clock.advance(LAST_RETRY)
            await until(lambda: f"{namespace}/unheard" in cache.items)
            await until(lambda: cache.failure is None)
            assert cache.age(clock.now()) == 0.0


async def test_a_server_that_is_away_ages_the_cache_until_it_is_back(proxy: FaultProxy, namespace: str) -> None:
    clock = VirtualClock()
    async with proxy.client(sleep=clock.sleep) as through:
        cache = make(through, namespace, clock)
        assert cache.age(clock.now()) == float("inf")
        async with running(cache.run()):
            await cache.synced()
            await until(lambda: proxy.watches == 1)
            proxy.refuse_next(503, times=10_000)
            proxy.cut_streams()
            await until(lambda: cache.failure is not None)
            before = len(proxy.requests)
            for _ in range(12):
                await clock.advance(10)
                await asyncio.sleep(0.02)
            assert cache.age(clock.now()) == pytest.approx(120)
            assert len(proxy.requests) - before < 30, "retries keep their distance"
            proxy.stop_refusing()
            await clock.advance(LAST_RETRY)
            await until(lambda: cache.failure is None)


async def test_only_what_the_selectors_name_is_held(client: KubeClient, namespace: str) -> None:
    await put(client, namespace, "one")
    await put(client, namespace, "two")
    cache = make(client, namespace, field_selector="metadata.name=two")
    async with running(cache.run()):
        await cache.synced()
        assert list(cache.items) == [f"{namespace}/two"]


async def test_a_list_that_keeps_expiring_is_read_in_one_page(
    proxy: FaultProxy, client: KubeClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autonodes.kube.cache.PAGE", 2)
    for index in range(5):
        await put(client, namespace, f"m{index}")
    proxy.expire_continues = 99
    async with proxy.client() as through:
        cache = make(through, namespace)
        async with running(cache.run()):
            await cache.synced()
            assert len(cache.items) == 5
