"""`autonodes up` against a bare kube-apiserver, then memory and CPU of the idle cluster.

Options: ``--runs N`` (default 5) starts of each kind, alternating, so that both see the same machine; ``--settle S``
(default 60) seconds of rest before and ``--idle S`` (default 60) seconds of measurement; ``--provider`` (local as root,
else kwok). The bare server has the same command line and the same kine, that runs already, and Go's own defaults.

Rows: one a pair of starts, one of their medians with the ratio, one a process at rest, one of their sums.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster import COMMAND, Cluster, kubectl_path, wait_for
from controlplane import binaries, free_port
from syncer import probes
from syncer.controlplane import apiserver, kine
from syncer.controlplane.preparation import prepare
from syncer.controlplane.settings import ControlPlane
from syncer.process import Process
from tests.benchmarks._process import cpu_seconds, private_mb, stat

NAME = "bench-up"
PYTHON = ("supervisor", "konnectivity-server", "controller")
CONTROL_PLANE = ("kine", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def run(arguments: list[str]) -> Iterator[Mapping[str, Any]]:
    options = argparse.ArgumentParser(prog="hack/bench up", description=__doc__)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--settle", type=float, default=60.0)
    options.add_argument("--idle", type=float, default=60.0)
    options.add_argument("--provider", default="local" if os.geteuid() == 0 else "kwok")
    given = options.parse_args(arguments)
    yield from _starts(given.runs, given.provider)
    yield from _at_rest(given.provider, settle=given.settle, idle=given.idle)


@dataclass(frozen=True)
class Start:
    """Seconds since the command was run.

    :param handled: a NodeClaim was there for a pod that was created as soon as the server took it
    """

    ready: float
    done: float
    handled: float


def _starts(runs: int, provider: str) -> Iterator[Mapping[str, Any]]:
    bare, ups = [], []
    for number in range(1, runs + 1):
        bare.append(_bare_start())
        with _home() as cluster:
            ups.append(_start(cluster, provider))
        yield {"round": number, "bare_apiserver_s": bare[-1], **_seconds(ups[-1])}
    medians = Start(
        *(statistics.median(each) for each in zip(*((u.ready, u.done, u.handled) for u in ups), strict=True))
    )
    yield {
        "round": "median",
        "bare_apiserver_s": round(statistics.median(bare), 3),
        **_seconds(medians),
        "ratio_to_bare": round(medians.ready / statistics.median(bare), 3),
    }


def _seconds(start: Start) -> dict[str, float]:
    return {
        "up_to_ready_api_s": round(start.ready, 3),
        "up_to_end_s": round(start.done, 3),
        "up_to_first_pod_handled_s": round(start.handled, 3),
    }


@contextlib.contextmanager
def _home() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory() as home:
        cluster = Cluster(name=NAME, home=Path(home), kubectl_path=kubectl_path())
        try:
            yield cluster
        finally:
            cluster.autonodes("down", "--name", NAME)


def _start(cluster: Cluster, provider: str) -> Start:
    began = time.monotonic()
    command = [COMMAND, "up", "--name", NAME, "--provider", provider]
    environment = {**os.environ, "AUTONODES_HOME": str(cluster.home), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        ready = next(time.monotonic() for line in running.stdout if line.strip().startswith("API server")) - began
        _create_pod(cluster)
        running.stdout.read()
    if running.returncode:
        raise RuntimeError("`autonodes up` failed")
    done = time.monotonic() - began
    wait_for("a claim", lambda: cluster.get("nodeclaims")["items"], cluster=cluster)
    return Start(ready, done, time.monotonic() - began)


def _create_pod(cluster: Cluster) -> None:
    """Refused until the controller manager has made the namespace's service account."""
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "100m"}}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waits"}, "spec": {"containers": [container]}}

    def created() -> bool:
        cluster.apply(pod)
        return True

    wait_for("the pod", created, cluster=cluster)


def _bare_start() -> float:
    """Seconds from the start of kube-apiserver to its first 200 on /readyz."""
    directory = Path(tempfile.mkdtemp(prefix="bare-"))
    plane = ControlPlane(
        name="bare",
        state_dir=directory,
        run_dir=directory,
        binaries=binaries(),
        port=free_port(),
        bind_address="127.0.0.1",
        konnectivity=False,
    )
    prepare(plane, now=datetime.now(UTC))
    running: list[subprocess.Popen[bytes]] = []
    try:
        for process in (kine.process(plane), apiserver.process(plane)):
            began = time.monotonic()
            running.append(_run_bare(process))
            _wait_until_ready(process)
        return round(time.monotonic() - began, 3)
    finally:
        for child in reversed(running):
            child.kill()
            child.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _run_bare(process: Process) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        process.argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _wait_until_ready(process: Process) -> None:
    while not asyncio.run(probes.is_ready(process.ready)):
        time.sleep(probes.INTERVAL)


def _at_rest(provider: str, *, settle: float, idle: float) -> Iterator[Mapping[str, Any]]:
    with _home() as cluster:
        up = cluster.autonodes("up", "--name", NAME, "--provider", provider)
        if up.returncode:
            raise RuntimeError(up.stderr)
        processes = pids(cluster)
        time.sleep(settle)
        before = {name: cpu_seconds(pid) for name, pid in processes.items()}
        time.sleep(idle)
        used = {name: (cpu_seconds(pid) - before[name]) / idle for name, pid in processes.items()}
        memory = {name: private_mb(pid) for name, pid in processes.items()}
    for name in processes:
        yield {"process": name, "private_mb": round(memory[name], 1), "idle_cpu_cores": round(used[name], 4)}
    yield {
        "process": "all",
        "control_plane_private_mb": round(sum(memory[name] for name in CONTROL_PLANE), 1),
        "python_private_mb": round(sum(memory[name] for name in PYTHON), 1),
        "idle_cpu_cores": round(sum(used.values()), 4),
    }


def pids(cluster: Cluster) -> dict[str, int]:
    """Of all processes of a cluster, by their names."""
    report = json.loads(cluster.autonodes("status", "--name", cluster.name, "-o", "json").stdout)
    found = {each["name"]: each["pid"] for each in report["processes"]}
    parent = int(stat(found["kine"])[1])
    return {"supervisor": parent, **found}
