"""kine: the etcd API on an SQLite file.

The file is in WAL mode, so a killed kine loses nothing that was acknowledged: the log is replayed at the next start.
"""

from __future__ import annotations

from syncer.controlplane.settings import ControlPlane
from syncer.controlplane.tuning import SMALL_GO
from syncer.process import Probe, Process

NAME = "kine"
SQLITE_OPTIONS = "_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate"
"""kine's own defaults, which an explicit path would drop; the timeout is in milliseconds."""


def process(plane: ControlPlane) -> Process:
    return Process(
        name=NAME,
        argv=(
            str(plane.binaries["kine"]),
            f"--listen-address=unix://{plane.kine_socket}",
            f"--endpoint=sqlite://{plane.database}?{SQLITE_OPTIONS}",
            "--metrics-bind-address=0",
        ),
        env=SMALL_GO,
        ready=Probe(unix_socket=str(plane.kine_socket)),
    )
