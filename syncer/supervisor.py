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
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from syncer import logfiles, status
from syncer.keeper import Keeper
from syncer.leftovers import clear_leftovers
from syncer.plan import Plan
from syncer.status import Identity, SupervisorStatus

ALREADY_RUNNING = 3
"""Exit code: another supervisor has the lock."""
UPKEEP_INTERVAL = 20.0
"""Seconds between two looks at log sizes and memory."""
GATE_INTERVAL = 1.0

_log = logging.getLogger(__name__)


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
