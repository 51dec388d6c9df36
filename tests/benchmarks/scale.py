"""A thousand pods come, three hundred go, every node drifts; and the caches of a large cluster: speed, memory, CPU.

Options: ``--pods N`` (default 1,000), ``--left N`` (default 700) of them that stay (if all do, there is no ``in``),
``--budget B`` (default 100%) of the pool's nodes that may be disrupted at once; ``--cached-pods N`` (default 40,000)
and ``--cached-nodes N`` (default 4,000) of the large cluster; ``--only fleet`` or ``--only cache`` for one half of it.

The fleet is that of ``autonodes up --provider kwok``: the real control plane and the real controller, in a process of
its own; kwok plays the kubelets. Half of the pods ask for 0.95 CPUs and 3.9 Gi, half for 3.8 CPUs and 31 Gi; nodes
have 16 CPUs at most. ``out`` lasts until all pods run; ``in`` until the last node has come or gone, which is known
after 90 quiet seconds once no node is too young to be badly used; ``drift`` until no node of before is left and all
pods run. ``nodes_per_s`` and ``pods_per_s`` count what came (out, drift) or went (in). The controller's memory is
private (RssAnon), sampled four times a second; its CPU time is divided by the time that was watched, the quiet end
included.

``cache`` fills the controller's caches from a bare API server, in a process of their own: ``seconds`` until they are
complete, ``private_mb`` then and ``peak_mb`` meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from autonodes.controllers.clock import SystemClock
from autonodes.controllers.settings import ControllerSettings
from autonodes.core.model import Pod
from autonodes.kube.cache import Change
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.resources import DEPLOYMENTS, NODEPOOLS
from cluster import Cluster, kubectl_path
from tests.benchmarks import _largecluster
from tests.benchmarks._deployments import deployment
from tests.benchmarks._process import Usage, watched
from tests.benchmarks.up import pids

NAME: Final = "bench-scale"
POOL: Final = "default"
SIZES: Final = (("950m", "3900Mi"), ("3800m", "31Gi"))
LARGEST: Final = 16
"""CPUs of a node."""
QUIET: Final = 90.0
"""Seconds: a minute until the controller looks again by itself, fifteen seconds until it acts, and some."""
PATIENCE: Final = 1800.0

Row = Mapping[str, Any]


def run(arguments: list[str]) -> Iterator[Row]:
    options = argparse.ArgumentParser(prog="hack/bench scale", description=__doc__)
    options.add_argument("--pods", type=int, default=1000)
    options.add_argument("--left", type=int, default=700)
    options.add_argument("--budget", default="100%")
    options.add_argument("--cached-pods", type=int, default=40_000)
    options.add_argument("--cached-nodes", type=int, default=4_000)
    options.add_argument("--only", choices=["fleet", "cache"])
    given = options.parse_args(arguments)
    if given.only != "cache":
        yield from _fleet(given.pods, given.left, given.budget)
    if given.only != "fleet":
        yield from _largecluster.rows(given.cached_pods, given.cached_nodes)


def _fleet(pods: int, left: int, budget: str) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix=f"{NAME}-") as home:
        cluster = Cluster(name=NAME, home=Path(home), kubectl_path=kubectl_path())
        try:
            up = cluster.autonodes("up", "--name", NAME, "--provider", "kwok")
            if up.returncode:
                raise SystemExit(up.stdout + up.stderr)
            yield from asyncio.run(_phases(cluster, pods, left, budget))
        finally:
            cluster.autonodes("down", "--name", NAME)


async def _phases(cluster: Cluster, pods: int, left: int, budget: str) -> list[Row]:
    async with KubeClient.from_kubeconfig(cluster.kubeconfig, user_agent=NAME) as client:
        fleet = _Fleet(client)
        following = asyncio.create_task(fleet.state.run())
        try:
            await fleet.state.synced()
            await fleet.shape_pool(budget)
            controller = pids(cluster)["controller"]
            rows = [await fleet.measured("out", controller, lambda: fleet.grow(pods))]
            if left < pods:
                rows.append(await fleet.measured("in", controller, lambda: fleet.shrink(left)))
            rows.append(await fleet.measured("drift", controller, fleet.drift))
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    return rows


class _Fleet:
    """The pods and nodes as the API server tells of them."""

    def __init__(self, client: KubeClient) -> None:
        self.state = ClusterState(client, SystemClock())
        self._client, self._changed = client, asyncio.Event()
        self._last = time.monotonic()
        self._running: set[str] = set()
        self.state.pods.subscribe(self._pod_changed)
        self.state.nodes.subscribe(lambda change: self._node_changed(change.old is None or change.new is None))

    def _pod_changed(self, change: Change[Pod]) -> None:
        if change.old is not None:
            self._running.discard(change.old.uid)
        if change.new is not None and change.new.phase == "Running":
            self._running.add(change.new.uid)
        self._changed.set()

    def _node_changed(self, is_other: bool) -> None:
        self._changed.set()
        if is_other:
            self._last = time.monotonic()

    async def measured(self, phase: str, pid: int, work: Callable[[], Any]) -> Row:
        """:param work: returns the seconds that it took"""
        pods, nodes = set(self._running), set(self.state.nodes.items)
        async with watched(pid) as usage:
            seconds = await work()
        other_pods, other_nodes = set(self._running), set(self.state.nodes.items)
        came = phase != "in"
        moved_pods = len(other_pods - pods if came else pods - other_pods)
        moved_nodes = len(other_nodes - nodes if came else nodes - other_nodes)
        return {
            "phase": phase,
            "pods": len(other_pods),
            "nodes": len(other_nodes),
            "seconds": round(seconds, 1),
            "nodes_per_s": round(moved_nodes / seconds, 2),
            "pods_per_s": round(moved_pods / seconds, 2),
            **_shown(usage),
        }

    async def shape_pool(self, budget: str) -> None:
        requirements = [{"key": "autonodes.io/instance-cpu", "operator": "Lt", "values": [str(LARGEST + 1)]}]
        disruption = {
            "consolidateAfter": "30s",
            "consolidationPolicy": "WhenEmptyOrUnderutilized",
            "budgets": [{"nodes": budget}],
        }
        spec = {"template": {"spec": {"requirements": requirements}}, "disruption": disruption}
        await self._client.merge_patch(NODEPOOLS, POOL, {"spec": spec})

    async def grow(self, pods: int) -> float:
        began = time.monotonic()
        counts = (pods // 2, pods - pods // 2)
        await asyncio.gather(
            *(
                self._client.create(DEPLOYMENTS, _deployment(number, count), "default")
                for number, count in enumerate(counts)
            )
        )
        await self._until(lambda: len(self._running) == pods)
        return time.monotonic() - began

    async def shrink(self, pods: int) -> float:
        began = time.monotonic()
        for number, count in enumerate((pods // 2, pods - pods // 2)):
            await self._client.merge_patch(DEPLOYMENTS, _name(number), {"spec": {"replicas": count}}, "default")
        await self._until(lambda: len(self._running) == pods)
        end = time.monotonic()
        await self._rest()
        return max(end, self._last) - began

    async def _rest(self) -> None:
        """Wait until it is known that nothing more will happen."""
        while True:
            left = self._unrest()
            if left <= 0 and not self.state.pending:
                return
            await asyncio.sleep(max(1.0, left))

    def _unrest(self) -> float:
        """Seconds until that is known, if nothing happens until then."""
        age = SystemClock().now() - max((node.created_at for node in self.state.nodes.items.values()), default=0.0)
        return max(QUIET - (time.monotonic() - self._last), ControllerSettings().consolidation_min_age + QUIET - age)

    async def drift(self) -> float:
        """A label in the pool's template."""
        began, before, pods = time.monotonic(), set(self.state.nodes.items), len(self._running)
        template = {"metadata": {"labels": {"example.com/revision": "2"}}}
        await self._client.merge_patch(NODEPOOLS, POOL, {"spec": {"template": template}})
        await self._until(lambda: before.isdisjoint(self.state.nodes.items) and len(self._running) == pods)
        return time.monotonic() - began

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def _shown(usage: Usage) -> Row:
    return {
        "controller_p95_mb": round(usage.p95_mb, 1),
        "controller_cores": round(usage.cores, 3),
        "controller_cpu_s": round(usage.cpu_s, 1),
        "watched_s": round(usage.seconds, 1),
    }


def _name(number: int) -> str:
    return f"scale-{number}"


def _deployment(number: int, replicas: int) -> dict[str, Any]:
    return deployment(_name(number), dict(zip(("cpu", "memory"), SIZES[number], strict=True)), replicas)
