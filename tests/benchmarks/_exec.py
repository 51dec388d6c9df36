"""kubectl exec and logs through the tunnel, beside an API server that reaches the same kubelet directly.

The second API server is the first one's twin (binary, flags, environment, datastore) without an egress selector. It
runs in the network namespace of the node, so that the kubelet's address is its own machine's, and so does its kubectl.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cluster import Cluster, kubectl_path, wait_for

POD = "transfer"
IMAGE = "autonodes.io/busybox:1.35"
TWIN_PORT = 7443
LOGS = 10
"""Round trips of ``kubectl logs`` in a round."""
_CHANGED = ("--egress-selector-config-file", "--secure-port", "--bind-address", "--endpoint-reconciler-type")


@dataclass(frozen=True)
class Way:
    """How kubectl is run to come to the kubelet one way or the other."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]

    def run(self, *arguments: str) -> int:
        """Bytes of output."""
        done = subprocess.run([*self.command, *arguments], capture_output=True, check=True, env=self.environment)
        return len(done.stdout)


def measure(rounds: int, megabytes: int) -> Iterator[Mapping[str, Any]]:
    """A cluster with one node; leaves nothing."""
    with tempfile.TemporaryDirectory() as home:
        cluster = Cluster(name="tunnel", home=Path(home), kubectl_path=kubectl_path())
        try:
            up = cluster.autonodes("up", "--name", cluster.name)
            if up.returncode:
                raise RuntimeError(up.stderr)
            cluster.apply(_pod())
            wait_for("the pod", partial(_running, cluster), cluster=cluster)
            tunnel = Way("the tunnel", (str(cluster.kubectl_path),), cluster.environment)
            with _direct(cluster) as direct:
                yield from _rounds(tunnel, direct, rounds, megabytes)
        finally:
            cluster.autonodes("down", "--name", cluster.name)


def _rounds(tunnel: Way, direct: Way, rounds: int, megabytes: int) -> Iterator[Mapping[str, Any]]:
    measured = []
    for number in range(1, rounds + 1):
        measured.append([_exec(way, megabytes) for way in (tunnel, direct)] + [_logs(way) for way in (tunnel, direct)])
        yield _row(number, measured[-1])
    yield _row("median", [statistics.median(column) for column in zip(*measured, strict=True)])


def _row(number: object, measured: Sequence[float]) -> Mapping[str, Any]:
    exec_tunnel, exec_direct, logs_tunnel, logs_direct = measured
    return {
        "round": number,
        "exec_tunnel_mb_per_s": exec_tunnel,
        "exec_direct_mb_per_s": exec_direct,
        "exec_ratio": exec_tunnel / exec_direct,
        "logs_tunnel_s": logs_tunnel,
        "logs_direct_s": logs_direct,
        "logs_ratio": logs_tunnel / logs_direct,
    }


def _exec(way: Way, megabytes: int) -> float:
    """MB/s out of the pod."""
    start = time.perf_counter()
    size = way.run("exec", POD, "--", "dd", "if=/dev/zero", "bs=1000000", f"count={megabytes}", "status=none")
    if size != megabytes * 1_000_000:
        raise RuntimeError(f"{way.name} moved {size} bytes instead of {megabytes} MB")
    return megabytes / (time.perf_counter() - start)


def _logs(way: Way) -> float:
    """Seconds of a ``kubectl logs``, from its start to its end, at the median."""
    times = []
    for _ in range(LOGS):
        start = time.perf_counter()
        way.run("logs", POD)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _pod() -> dict[str, Any]:
    container = {"name": "box", "image": IMAGE, "command": ["sh", "-c", "echo hello; exec sleep 100000"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": "default"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }


def _running(cluster: Cluster) -> bool:
    return bool(cluster.get("pod", POD)["status"]["phase"] == "Running") and bool(cluster.kubectl("logs", POD))


@contextlib.contextmanager
def _direct(cluster: Cluster) -> Iterator[Way]:
    """The twin, started and ready."""
    kubelet = _process(f"--hostname-override={cluster.nodes()[0]}")
    original = _process("kube-apiserver", f"{cluster.home}/{cluster.name}/")
    enter = ("nsenter", f"--net=/proc/{kubelet}/ns/net")
    log = cluster.home / "twin.log"
    with log.open("wb") as output:
        twin = subprocess.Popen(
            [*enter, *_twin_arguments(original)], stdout=output, stderr=output, env=_environment_of(original)
        )
    try:
        environment = {**cluster.environment, "KUBECONFIG": str(_twin_kubeconfig(cluster))}
        way = Way("the direct way", (*enter, str(cluster.kubectl_path)), environment)
        wait_for("the twin API server", partial(_ready, way))
        yield way
    finally:
        twin.kill()
        twin.wait()


def _ready(way: Way) -> bool:
    with contextlib.suppress(subprocess.CalledProcessError):
        return way.run("get", "--raw=/readyz", "--request-timeout=5s") > 0
    return False


def _twin_arguments(pid: int) -> list[str]:
    kept = [argument for argument in _arguments(pid) if not argument.startswith(_CHANGED)]
    return [*kept, f"--secure-port={TWIN_PORT}", "--bind-address=127.0.0.1", "--endpoint-reconciler-type=none"]


def _twin_kubeconfig(cluster: Cluster) -> Path:
    lines = cluster.kubeconfig.read_text().splitlines()
    path = cluster.home / "twin.kubeconfig"
    path.touch(mode=0o600)
    changed = [
        f"{line.partition('server:')[0]}server: https://127.0.0.1:{TWIN_PORT}" if "server:" in line else line
        for line in lines
    ]
    path.write_text("\n".join(changed))
    return path


def _process(*parts: str) -> int:
    """The process whose command line has all of ``parts``."""
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal() and int(directory.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = " ".join(_arguments(int(directory.name)))
                if all(part in command for part in parts) and not command.startswith("nsenter"):
                    return int(directory.name)
    raise RuntimeError(f"no process with {' and '.join(parts)}")


def _arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")


def _environment_of(pid: int) -> dict[str, str]:
    """Its memory limits among others: the twin must have the same."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)
