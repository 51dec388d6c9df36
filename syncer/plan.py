"""What a supervisor keeps, as a file: the processes, and where it tells of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from syncer.files import write_atomically
from syncer.process import Process, from_json, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """:param run_dir: gone after a reboot: lock and status
    :param log_dir: one file a process
    :param processes: in the order in which they are stopped from the end
    """

    run_dir: Path
    log_dir: Path
    processes: tuple[Process, ...]

    @property
    def status_file(self) -> Path:
        return self.run_dir / "status.json"

    @property
    def lock_file(self) -> Path:
        return self.run_dir / "supervisor.lock"

    def log_file(self, name: str) -> Path:
        return self.log_dir / f"{name}.log"

    def write(self, path: Path) -> None:
        document = {
            "run_dir": str(self.run_dir),
            "log_dir": str(self.log_dir),
            "processes": [to_json(process) for process in self.processes],
        }
        write_atomically(path, json.dumps(document, indent=1).encode())

    @classmethod
    def read(cls, path: Path) -> Plan:
        """:raises FileNotFoundError: there is none
        :raises ValueError, KeyError, TypeError: it is damaged
        """
        document = json.loads(path.read_bytes())
        return cls(
            run_dir=Path(document["run_dir"]),
            log_dir=Path(document["log_dir"]),
            processes=tuple(from_json(each) for each in document["processes"]),
        )
