"""A real API server for a test: kine and kube-apiserver, if wanted with controller manager and scheduler.

There is no supervisor here and no node, so it is up in about three seconds. Pods stay Pending and nobody answers behind
the tunnel.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from autonodes.components import locate
from syncer.controlplane import apiserver, controllermanager, kine, rbac, scheduler
from syncer.controlplane.preparation import prepare
from syncer.controlplane.settings import ControlPlane
from syncer.pki import CLUSTER_CA
from syncer.process import Process

COMPONENTS = ("kine", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")


@dataclass(frozen=True)
class RunningControlPlane:
    plane: ControlPlane

    @property
    def kubeconfig(self) -> Path:
        """Of the administrator (``system:masters``)."""
        return self.plane.admin_kubeconfig

    @property
    def url(self) -> str:
        return self.plane.url

    def kubeconfig_of(self, user: str) -> Path:
        """``controller``, ``konnectivity-server``, ``controller-manager`` or ``scheduler``."""
        return self.plane.kubeconfig(user)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of kubectl as the administrator; a failure raises with its standard error in the text."""
        done = subprocess.run(
            [self.plane.binaries["kubectl"], f"--kubeconfig={self.kubeconfig}", *arguments],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout


@functools.cache
def binaries() -> dict[str, Path]:
    """Of the components, from the directories in AUTONODES_COMPONENTS and then the cache; the test fails without."""
    found, missing = locate(COMPONENTS)
    if missing:
        pytest.fail(f"no {', '.join(map(str, missing))}: `autonodes components --fetch` gets them")
    return {name: binary.path for name, binary in found.items()}


@contextlib.contextmanager
def control_plane(
    directory: Path, *, controller_manager: bool = False, with_scheduler: bool = False, konnectivity: bool = False
) -> Iterator[RunningControlPlane]:
    """Start, wait until ready, and leave nothing behind.

    :param konnectivity: the API server dials nodes through ``plane.konnectivity_socket``, that the test must serve
    """
    run_dir = Path(tempfile.mkdtemp(prefix="an-"))  # short, for the sake of the socket's path
    plane = ControlPlane(
        name="test",
        state_dir=directory / "cluster",
        run_dir=run_dir,
        binaries=binaries(),
        port=free_port(),
        bind_address="127.0.0.1",
        konnectivity=konnectivity,
    )
    prepare(plane, now=datetime.now(UTC))
    processes = [kine.process(plane), apiserver.process(plane)]
    processes += [controllermanager.process(plane)] if controller_manager else []
    processes += [scheduler.process(plane)] if with_scheduler else []
    running: list[subprocess.Popen[bytes]] = []
    try:
        for process in processes:
            running.append(_start(process, directory / f"{process.name}.log"))
            _wait_until_ready(process, running[-1], plane, directory / f"{process.name}.log")
        cluster = RunningControlPlane(plane)
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(_manifest_list(rbac.manifests())))
        yield cluster
    finally:
        _stop(running)
        shutil.rmtree(run_dir, ignore_errors=True)


def free_port() -> int:
    """Of the loopback, free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _manifest_list(objects: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": objects}


def _start(process: Process, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            process.argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env={**os.environ, **process.env}
        )


def _wait_until_ready(process: Process, child: subprocess.Popen[bytes], plane: ControlPlane, log: Path) -> None:
    deadline = time.monotonic() + process.ready.deadline
    while not _is_ready(process, plane):
        if child.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise AssertionError(f"{process.name} is not ready (exit code {child.poll()}):\n{tail}")
        time.sleep(0.05)


def _is_ready(process: Process, plane: ControlPlane) -> bool:
    if process.ready.unix_socket:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(process.ready.unix_socket) == 0
    if process.ready.https_url:
        context = ssl.create_default_context(cafile=plane.pki.certificate(CLUSTER_CA))
        try:
            with urllib.request.urlopen(process.ready.https_url, context=context, timeout=5) as answer:  # noqa: S310 -- https
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
    return True


def _stop(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in reversed(running):
        child.kill()
        child.wait(timeout=30)
