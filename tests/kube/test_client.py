"""The client against a real API server, with a proxy between them where something must go wrong."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
import yaml

from autonodes.core.errors import ConfigError
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import (
    AlreadyExistsError,
    ApiError,
    ApiUnreachableError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    NotFoundError,
    ServerError,
    TooManyRequestsError,
    UnauthorizedError,
)
from autonodes.kube.kubeconfig import Credentials
from autonodes.kube.resources import CONFIGMAPS, NODES, PDBS, PODS, Resource, node_class, resource_of
from autonodes.verify.faultproxy import FaultProxy
from controlplane import RunningControlPlane, free_port
from kube.conftest import pod

pytestmark = pytest.mark.integration


class Sleeps(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)
        await asyncio.sleep(0)


def config_map(name: str, namespace: str, **data: str) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": namespace}, "data": data}


async def test_an_object_is_created_read_changed_and_deleted(client: KubeClient, namespace: str) -> None:
    made = await client.create(CONFIGMAPS, config_map("one", namespace, a="1"))
    assert (await client.get(CONFIGMAPS, "one", namespace))["metadata"]["uid"] == made["metadata"]["uid"]
    patched = await client.merge_patch(CONFIGMAPS, "one", {"data": {"b": "2"}}, namespace)
    assert patched["data"] == {"a": "1", "b": "2"}
    changed = await client.json_patch(
        CONFIGMAPS, "one", [{"op": "replace", "path": "/data/a", "value": "3"}], namespace
    )
    assert changed["data"]["a"] == "3"
    replaced = await client.replace(CONFIGMAPS, {**changed, "data": {"c": "4"}})
    assert replaced["data"] == {"c": "4"}
    await client.delete(CONFIGMAPS, "one", namespace, uid=made["metadata"]["uid"])
    with pytest.raises(NotFoundError):
        await client.get(CONFIGMAPS, "one", namespace)


async def test_apply_creates_and_then_owns_its_fields(client: KubeClient, namespace: str) -> None:
    await client.apply(CONFIGMAPS, config_map("one", namespace, a="1"), field_manager="first")
    applied = await client.apply(CONFIGMAPS, config_map("one", namespace, a="2"), field_manager="first")
    assert applied["data"] == {"a": "2"}
    with pytest.raises(ConflictError):
        await client.apply(CONFIGMAPS, config_map("one", namespace, a="3"), field_manager="second", force=False)
    taken = await client.apply(CONFIGMAPS, config_map("one", namespace, a="3"), field_manager="second")
    assert taken["data"] == {"a": "3"}


async def test_a_status_is_written_through_its_subresource(client: KubeClient, node: str) -> None:
    patch = {"status": {"allocatable": {"cpu": "2"}, "capacity": {"cpu": "2"}}}
    await client.merge_patch(NODES, node, patch, subresource="status")
    assert (await client.get(NODES, node))["status"]["allocatable"] == {"cpu": "2"}


async def test_refusals_are_told_apart(client: KubeClient, namespace: str, api: RunningControlPlane) -> None:
    made = await client.create(CONFIGMAPS, config_map("one", namespace))
    with pytest.raises(AlreadyExistsError):
        await client.create(CONFIGMAPS, config_map("one", namespace))
    stale = {"metadata": {"resourceVersion": "1"}, "data": {"x": "y"}}
    with pytest.raises(ConflictError):
        await client.merge_patch(CONFIGMAPS, "one", stale, namespace)
    with pytest.raises(ConflictError):
        await client.delete(CONFIGMAPS, "one", namespace, uid="00000000-0000-0000-0000-000000000000")
    with pytest.raises(InvalidError, match="Invalid"):
        await client.create(CONFIGMAPS, config_map("Not A Name", namespace))
    with pytest.raises(InvalidError):
        await client.list(PODS, field_selector="spec.nonsense=1")
    assert made["metadata"]["name"] == "one"


async def test_credentials_that_are_refused_are_told_from_those_that_may_not(
    api: RunningControlPlane, namespace: str
) -> None:
    tls = KubeClient.from_kubeconfig(api.kubeconfig_of("scheduler"))
    async with tls as scheduler:
        with pytest.raises(ForbiddenError):
            await scheduler.create(CONFIGMAPS, config_map("one", namespace))


async def test_an_unknown_kind_is_not_an_object_that_is_gone(client: KubeClient) -> None:
    unknown = Resource("example.org", "v1", "things", "Thing")
    with pytest.raises(ApiError) as refused:
        await client.get(unknown, "one")
    assert not isinstance(refused.value, NotFoundError)
    assert refused.value.code == 404


async def test_a_long_list_is_complete(client: KubeClient, namespace: str) -> None:
    names = {f"m{index}" for index in range(23)}
    await asyncio.gather(*(client.create(CONFIGMAPS, config_map(name, namespace)) for name in names))
    pages = [page async for page in client.pages(CONFIGMAPS, namespace, limit=5)]
    assert [len(page.items or ()) for page in pages] == [5, 5, 5, 5, 3]
    assert len({page.resource_version for page in pages}) == 1
    assert {item["metadata"]["name"] for item in await client.list(CONFIGMAPS, namespace)} == names


async def test_a_list_selects_by_label_and_field(client: KubeClient, namespace: str) -> None:
    for name in ("a", "b"):
        await client.create(PODS, {**pod(name), "metadata": {"name": name, "labels": {"app": name}}}, namespace)
    by_label = await client.list(PODS, namespace, label_selector="app=a")
    by_field = await client.list(PODS, namespace, field_selector="metadata.name=b")
    assert [item["metadata"]["name"] for item in by_label + by_field] == ["a", "b"]


async def test_a_list_that_expires_between_its_pages_starts_over(
    proxy: FaultProxy, client: KubeClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autonodes.kube.client.PAGE", 2)
    for index in range(5):
        await client.create(CONFIGMAPS, config_map(f"m{index}", namespace))
    async with proxy.client() as through:
        proxy.expire_continues = 1
        assert len(await through.list(CONFIGMAPS, namespace)) == 5
        proxy.expire_continues = 99
        assert len(await through.list(CONFIGMAPS, namespace)) == 5
    assert "limit" not in proxy.requests[-1]


async def test_a_list_that_is_cut_is_an_error_and_never_shorter(
    proxy: FaultProxy, client: KubeClient, namespace: str
) -> None:
    for index in range(5):
        await client.create(CONFIGMAPS, config_map(f"m{index}", namespace))
    proxy.cut_lists = True
    async with proxy.client(sleep=Sleeps()) as through:
        with pytest.raises(ApiUnreachableError):
            await through.list(CONFIGMAPS, namespace)


async def test_reads_are_repeated_as_the_server_asks(proxy: FaultProxy) -> None:
    sleeps = Sleeps()
    async with proxy.client(sleep=sleeps) as through:
        proxy.refuse_next(429, retry_after="3")
        proxy.refuse_next(503)
        assert isinstance(await through.list(NODES), list)
    assert sleeps[0] == 3.0
    assert 0 < sleeps[1] <= 0.4
    assert len(proxy.requests) == 3


async def test_reads_give_up_in_the_end(proxy: FaultProxy) -> None:
    async with proxy.client(sleep=Sleeps()) as through:
        proxy.refuse_next(500, times=4)
        with pytest.raises(ServerError):
            await through.get(NODES, "any")
        proxy.refuse_next(429, retry_after="60")
        with pytest.raises(TooManyRequestsError) as refused:
            await through.get(NODES, "any")
    assert refused.value.retry_after == 60.0
    assert len(proxy.requests) == 5


async def test_a_write_is_repeated_only_where_it_was_turned_away(
    proxy: FaultProxy, client: KubeClient, namespace: str
) -> None:
    async with proxy.client(sleep=Sleeps()) as through:
        proxy.refuse_next(429, retry_after="1")
        await through.create(CONFIGMAPS, config_map("one", namespace))
        assert len(proxy.requests) == 2
        proxy.refuse_next(500)
        with pytest.raises(ServerError):
            await through.create(CONFIGMAPS, config_map("two", namespace))
        assert len(proxy.requests) == 3
        proxy.lose_answers = True
        with pytest.raises(ApiUnreachableError):
            await through.create(CONFIGMAPS, config_map("three", namespace))
        assert len(proxy.requests) == 4
    assert (await client.get(CONFIGMAPS, "three", namespace))["metadata"]["name"] == "three"


async def test_an_eviction_waits_for_the_disruption_budget(client: KubeClient, namespace: str, node: str) -> None:
    labels = {"app": "guarded"}
    guarded = {**pod("one", nodeName=node), "metadata": {"name": "one", "labels": labels}}
    made = await client.create(PODS, guarded, namespace)
    budget = {"metadata": {"name": "all", "namespace": namespace}}
    spec = {"minAvailable": 1, "selector": {"matchLabels": labels}}
    await client.create(PDBS, {**budget, "spec": spec})
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await client.merge_patch(PODS, "one", {"status": ready}, namespace, subresource="status")
    with pytest.raises(TooManyRequestsError) as refused:
        await client.evict("one", namespace)
    assert refused.value.disruption_budget
    await client.delete(PDBS, "all", namespace)
    with pytest.raises(ConflictError):
        await client.evict("one", namespace, uid="00000000-0000-0000-0000-000000000000")
    await client.evict("one", namespace, uid=made["metadata"]["uid"], grace_period=0)
    with pytest.raises(NotFoundError):
        await client.evict("one", namespace)


async def test_an_unreachable_server_is_not_an_answer(namespace: str) -> None:
    async with KubeClient(Credentials(server=f"http://127.0.0.1:{free_port()}"), sleep=Sleeps()) as nobody:
        with pytest.raises(ApiUnreachableError):
            await nobody.get(NODES, "any")
        with pytest.raises(ApiUnreachableError):
            await nobody.delete(NODES, "any")
        assert await nobody.ready() is False


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autonodes.kube.transport.CONNECT_TIMEOUT", 0.05)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        async with KubeClient(Credentials(server=f"http://127.0.0.1:{mute.getsockname()[1]}")) as client:
            assert await client.ready() is False


async def test_the_server_tells_its_version_and_that_it_is_ready(client: KubeClient) -> None:
    assert (await client.version())["gitVersion"].startswith("v1.")
    assert await client.ready() is True


async def test_a_wrong_token_is_unauthorized(api: RunningControlPlane, tmp_path: Path) -> None:
    document = yaml.safe_load(api.kubeconfig.read_text())
    document["users"][0]["user"] = {"tokenFile": "token"}
    (tmp_path / "token").write_text("wrong\n")
    (tmp_path / "config").write_text(yaml.safe_dump(document))
    async with KubeClient.from_kubeconfig(tmp_path / "config") as client:
        with pytest.raises(UnauthorizedError):
            await client.list(NODES)


async def test_a_watch_from_a_version_that_is_no_more_says_gone(proxy: FaultProxy) -> None:
    proxy.expire_watches = 1
    async with proxy.client() as through:
        with pytest.raises(GoneError):
            async for _ in through.watch(NODES, resource_version="1"):
                pass


def test_resources_know_their_paths() -> None:
    assert PODS.path("a", "b", "eviction") == "/api/v1/namespaces/b/pods/a/eviction"
    assert PODS.path() == "/api/v1/pods"
    assert node_class("LocalNodeClass").path("x") == "/apis/autonodes.io/v1alpha1/localnodeclasses/x"
    assert resource_of({"apiVersion": "apps/v1", "kind": "DaemonSet"}).plural == "daemonsets"
    assert NODES.path("../secrets") == "/api/v1/nodes/..%2Fsecrets"
    with pytest.raises(ValueError, match="namespace"):
        PODS.path("a")
    with pytest.raises(ValueError, match="name"):
        NODES.path("..")
    with pytest.raises(ConfigError):
        resource_of({"apiVersion": "v2", "kind": "Pod"})
