"""The bundle of caches: indexes that are right after any churn, and the freeze rule."""

from __future__ import annotations

import asyncio
import random

import pytest

from autonodes.controllers.clock import SystemClock
from autonodes.core.model import Pod, PodUID
from autonodes.kube.cache import SILENCE, Change
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import STALE, ClusterState
from autonodes.kube.kubeconfig import Credentials
from autonodes.kube.resources import NODECLAIMS, PODS, node_class
from autonodes.verify.faultproxy import FaultProxy
from clock import VirtualClock
from kube.conftest import pod
from kube.waiting import running, until


@pytest.mark.integration
@pytest.mark.usefixtures("installed")
async def test_pods_are_indexed_by_node_as_they_come_and_go(client: KubeClient, namespace: str, node: str) -> None:
    state = ClusterState(client, SystemClock(), node_class=node_class("LocalNodeClass"))
    async with running(state.run()):
        await state.synced()
        await until(lambda: state.fresh(SystemClock().now()))  # a new kind's storage may still be on its way
        for name in ("a", "b", "c"):
            await client.create(PODS, pod(name), namespace)
        await until(lambda: len([key for key in state.pending if key.startswith(namespace)]) == 3)
        binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": node}}
        await client.create(PODS, binding, namespace, name="a", subresource="binding")
        await until(lambda: list(state.pods_on(node)) == [f"{namespace}/a"])
        assert f"{namespace}/a" not in state.pending
        for name in ("a", "b"):
            await client.delete(PODS, name, namespace, grace_period=0)
        await until(lambda: [key for key in state.pending if key.startswith(namespace)] == [f"{namespace}/c"])
        await until(lambda: not state.pods_on(node))
        assert node not in state.pods_by_node


@pytest.mark.integration
@pytest.mark.usefixtures("installed")
async def test_claims_are_read_as_their_models(client: KubeClient) -> None:
    requirement = {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}
    reference = {"group": "autonodes.io", "kind": "LocalNodeClass", "name": "default"}
    spec = {"requirements": [requirement], "nodeClassRef": reference}
    body = {"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "claim-1"}, "spec": spec}
    await client.create(NODECLAIMS, body)
    state = ClusterState(client, SystemClock())
    async with running(state.run()):
        await until(lambda: state.nodeclaims.get("claim-1") is not None)
        claim = state.nodeclaims.get("claim-1")
        assert claim is not None
        assert claim.spec.node_class_ref.name == "default"
    await client.delete(NODECLAIMS, "claim-1")


@pytest.mark.integration
@pytest.mark.usefixtures("installed")
async def test_the_cluster_freezes_when_it_is_not_heard_and_thaws_by_itself(proxy: FaultProxy) -> None:
    clock = VirtualClock()
    async with proxy.client() as through:
        state = ClusterState(through, clock)
        assert state.stale(clock.now())[0].endswith("not listed yet")
        async with running(state.run()):
            await state.synced()
            while proxy.watches < 6:  # a new kind's storage may still be on its way
                await clock.advance(0.1)
                await asyncio.sleep(0.01)
            await until(lambda: state.fresh(clock.now()))
            proxy.freeze()
            proxy.hang()
            await clock.advance(SILENCE - 1)
            assert state.fresh(clock.now())
            await clock.advance(2)
            assert not state.fresh(clock.now()), "all six are silent"
            assert "silent" in " ".join(state.stale(clock.now()))
            proxy.thaw()
            proxy.stop_hanging()
            await clock.advance(1)
            await until(lambda: state.fresh(clock.now()))
            proxy.refuse_next(503, times=10_000)
            proxy.cut_streams()
            await until(lambda: not state.fresh(clock.now()))


async def test_a_cluster_that_was_not_heard_for_long_is_stale_without_any_error() -> None:
    clock = VirtualClock()
    async with KubeClient(Credentials(server="http://127.0.0.1:1")) as client:
        state = ClusterState(client, clock)
        for cache in state._caches:
            cache._synced.set()
            cache._mark_heard()
        assert state.fresh(clock.now())
        assert state.fresh(clock.now() + STALE)
        assert not state.fresh(clock.now() + STALE + 1)


async def test_the_indexes_are_those_of_a_fresh_count_after_any_sequence_of_changes() -> None:
    draw = random.Random(5)  # noqa: S311 -- the same changes in each run
    async with KubeClient(Credentials(server="http://127.0.0.1:1")) as client:
        state = ClusterState(client, VirtualClock())
        truth: dict[str, Pod] = {}
        for _ in range(3000):
            key = f"ns/{draw.randrange(40)}"
            old = truth.pop(key, None)
            new = None if old is not None and draw.random() < 0.3 else _some_pod(key, draw)
            if new is not None:
                truth[key] = new
            state._index(Change(key, old, new))
        bound = {(each.node_name, key) for key, each in truth.items() if each.node_name}
        assert {(node, key) for node, pods in state.pods_by_node.items() for key in pods} == bound
        assert all(pods for pods in state.pods_by_node.values())
        waiting = {k for k, p in truth.items() if not p.node_name and not p.terminal and p.deleted_at is None}
        assert set(state.pending) == waiting


def _some_pod(key: str, draw: random.Random) -> Pod:
    namespace, name = key.split("/")
    return Pod(
        uid=PodUID(key),
        namespace=namespace,
        name=name,
        requests={},
        node_name=draw.choice(["", "", "n1", "n2", "n3"]),
        phase=draw.choice(["Pending", "Running", "Succeeded"]),
        deleted_at=draw.choice([None, None, 1.0]),
    )
