"""What the supervisor tells about itself: one small file, rewritten on every change, read by anybody.

A process is known by its number *and* its start time, so a number that the kernel gave away again is never taken for
the process that had it before (proc(5), field 22 of ``stat``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from syncer.files import write_atomically

WAITING = "waiting"
"""For its gate, or for the processes that it comes after."""
STARTING = "starting"
READY = "ready"
BACKOFF = "backoff"
"""It died and will be started again in a while."""
STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Identity:
    """:param started: clock ticks between the machine's boot and the process's start"""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """None when there is no such process, or only what a dead one leaves until its parent looks."""
        fields = _stat(pid)
        return None if not fields or fields[0] in "ZX" else cls(pid, int(fields[19]))

    def alive(self) -> bool:
        return Identity.of(self.pid) == self


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """:param since: when ``state`` was entered, seconds since the epoch
    :param failures: deaths in a row, without a healthy time between them
    :param restarts: starts after the first one
    :param last_exit: in words; empty if it never died
    :param soft_memory_mb: Go's soft memory limit, in MiB; 0 for none
    """

    name: str
    state: str
    since: float
    identity: Identity | None = None
    failures: int = 0
    restarts: int = 0
    last_exit: str = ""
    soft_memory_mb: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorStatus:
    identity: Identity
    processes: Sequence[ProcessStatus] = field(default_factory=tuple)

    def process(self, name: str) -> ProcessStatus | None:
        return next((process for process in self.processes if process.name == name), None)


def write(path: Path, status: SupervisorStatus) -> None:
    write_atomically(path, json.dumps(asdict(status), indent=1).encode(), mode=0o644)


def read(path: Path) -> SupervisorStatus | None:
    """None when there never was a supervisor. It may be dead by now: ask its identity."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return None  # not ours, or cut off by a crash of the machine: as good as none
    return SupervisorStatus(
        identity=Identity(**document["identity"]),
        processes=tuple(_process(each) for each in document["processes"]),
    )


def _process(document: Mapping[str, Any]) -> ProcessStatus:
    identity = document["identity"]
    return ProcessStatus(**{**document, "identity": Identity(**identity) if identity else None})


def _stat(pid: int) -> list[str] | None:
    """The fields after the command's name, which may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
