"""A control plane for a while: its processes without a supervisor, killed and forgotten at the end.

For what needs a real API server and nothing of a cluster's life: it is up in about three seconds, and what it stored
is worth nothing afterwards.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from autonodes.core.errors import EnvironmentFault
from syncer.controlplane.preparation import prepare
from syncer.controlplane.settings import ControlPlane
from syncer.pki import CLUSTER_CA
from syncer.process import Process

_POLL: Final = 0.05
_LINES: Final = 30
"""Of a log that are shown."""


@contextlib.contextmanager
def running(plane: ControlPlane, processes: Sequence[Process], logs: Path) -> Iterator[None]:
    """Start them in order, each when the one before is ready, and leave none behind.

    :param logs: a directory, for a log each
    :raises EnvironmentFault: one does not get ready
    """
    prepare(plane, now=datetime.now(UTC))
    children: list[subprocess.Popen[bytes]] = []
    try:
        for process in processes:
            log = logs / f"{process.name}.log"
            children.append(_started(process, log))
            _wait_until_ready(process, children[-1], plane, log)
        yield
    finally:
        for child in reversed(children):
            child.kill()
            child.wait(timeout=30)


def free_port() -> int:
    """Of the loopback, free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _started(process: Process, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            process.argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env={**os.environ, **process.env}
        )


def _wait_until_ready(process: Process, child: subprocess.Popen[bytes], plane: ControlPlane, log: Path) -> None:
    deadline = time.monotonic() + process.ready.deadline
    while not _is_ready(process, plane):
        if child.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LINES:])
            raise EnvironmentFault(f"{process.name} is not ready (exit code {child.poll()})", f"its log ends:\n{tail}")
        time.sleep(_POLL)


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
