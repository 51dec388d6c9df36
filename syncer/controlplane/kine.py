"""kine: the etcd API on an SQLite file.

The file is in WAL mode, so a killed kine loses nothing that was acknowledged: the log is replayed at the next start.
"""

from __future__ import annotations

from syncer.controlplane.settings import ControlPlane
from syncer.process import Probe, Process

SQLITE_OPTIONS = "_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate"
"""kine's own defaults, which an explicit path would drop; the timeout is in milliseconds."""


def process(plane: ControlPlane) -> Process:
    return Process(
        name="kine",
        argv=(
            str(plane.binaries["kine"]),
            f"--listen-address=unix://{plane.kine_socket}",
            f"--endpoint=sqlite://{plane.database}?{SQLITE_OPTIONS}",
            "--metrics-bind-address=0",
        ),
        env=plane.environment.get("kine", {}),
        ready=Probe(unix_socket=str(plane.kine_socket)),
    )
