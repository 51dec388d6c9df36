"""Keeps the processes of one cluster running: ``python -m syncer.supervisor PLAN``.

The plan is a JSON file (`Plan`). Processes start as soon as those that they come after are ready, and stop one by one
in reverse order. SIGTERM and SIGINT stop everything; SIGHUP makes it look at the gates at once.

One supervisor a cluster: it holds a lock for its whole life. It is small (standard library only) and keeps no state
but the status file: a supervisor that is killed takes its processes along (see `child`), and the next one goes on
where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncer import logfiles, status
from syncer.child import kill_group
from syncer.files import write_atomically
from syncer.keeper import Keeper
from syncer.process import Process, from_json, to_json
from syncer.status import Identity, SupervisorStatus

ALREADY_RUNNING = 3
"""Exit code: another supervisor has the lock."""
UPKEEP_INTERVAL = 20.0
"""Seconds between two looks at log sizes and memory."""
GATE_INTERVAL = 1.0

_log = logging.getLogger(__name__)


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
        """:raises FileNotFoundError: there is none"""
        document = json.loads(path.read_bytes())
        return cls(
            run_dir=Path(document["run_dir"]),
            log_dir=Path(document["log_dir"]),
            processes=tuple(from_json(each) for each in document["processes"]),
        )


class Supervisor:
    """Runs one plan once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stopping = asyncio.Event()
        self._identity = Identity.of(os.getpid())
        previous = status.read(plan.status_file)
        self._keepers = {
            process.name: Keeper(
                process,
                log=plan.log_file(process.name),
                changed=self._publish,
                memory_mb=_memory_of(process.name, previous),
            )
            for process in plan.processes
        }

    async def run(self) -> None:
        """Until a signal; everything is stopped then."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._check_gates)
        tasks = [asyncio.ensure_future(self._keep(keeper)) for keeper in self._keepers.values()]
        tasks += [asyncio.ensure_future(self._watch_gates()), asyncio.ensure_future(self._upkeep())]
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        await self._stop(tasks)
        for task in (stopping, *tasks):
            if task.done() and not task.cancelled():
                task.result()  # a defect of the supervisor itself is not swallowed

    async def _keep(self, keeper: Keeper) -> None:
        await keeper.run(self._keepers[name] for name in keeper.process.after)

    async def _stop(self, tasks: Sequence[asyncio.Future[None]]) -> None:
        for task in tasks:
            task.cancel()
        for keeper in reversed(self._keepers.values()):
            await keeper.stop()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_gates(self) -> None:
        while True:
            await asyncio.sleep(GATE_INTERVAL)
            self._check_gates()

    def _check_gates(self) -> None:
        for keeper in self._keepers.values():
            keeper.check_gate()

    async def _upkeep(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_INTERVAL)
            logfiles.rotate(self._plan.log_file("supervisor"))
            for keeper in self._keepers.values():
                logfiles.rotate(keeper.log_file)
                keeper.check_memory()

    def _publish(self) -> None:
        if self._identity is None or not hasattr(self, "_keepers"):
            return
        processes = tuple(keeper.status for keeper in self._keepers.values())
        try:
            status.write(self._plan.status_file, SupervisorStatus(identity=self._identity, processes=processes))
        except OSError as error:
            _log.error("the status can't be written: %s", error)  # the processes matter more


def _memory_of(name: str, previous: SupervisorStatus | None) -> int:
    process = previous.process(name) if previous else None
    return process.soft_memory_mb if process else 0


def main(arguments: Sequence[str]) -> int:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    plan = Plan.read(Path(arguments[0]))
    try:
        with _lock(plan.lock_file):
            clear_leftovers(plan.status_file)
            asyncio.run(_run(plan))
    except BlockingIOError:
        _log.error("another supervisor keeps this cluster")
        return ALREADY_RUNNING
    return 0


def clear_leftovers(status_file: Path) -> None:
    """Kill what a dead supervisor's status names and what still lives, and wait until it is gone.

    The kernel has done that already, as a rule; a process that changed its user or its privileges escapes it.
    """
    previous = status.read(status_file)
    for process in previous.processes if previous else ():
        while process.identity and process.identity.alive():
            _log.warning("%s: left over, pid %d; killed", process.name, process.identity.pid)
            kill_group(process.identity.pid)
            time.sleep(0.02)


async def _run(plan: Plan) -> None:
    await Supervisor(plan).run()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """:raises BlockingIOError: somebody has it"""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            raise BlockingIOError(*error.args) from error
        raise
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
