"""One process for as long as the cluster runs: wait for what it needs, start it, wait until ready, start it again.

A process that dies comes back after `FIRST_DELAY` seconds, twice as long after each further death, `LONGEST_DELAY` at
most; after `HEALTHY` seconds of life the count starts over.

**Memory.** A Go program at rest keeps what it once needed: kube-apiserver holds 240 MB after a start for a hundred
that it uses. A soft limit (GOMEMLIMIT) makes the runtime give that back, but a limit below what the program really
uses makes it collect garbage all the time. So the limit begins low and is doubled whenever the process has been above
it for `OVER_LIMIT_CHECKS` checks, or busy next to it for `BUSY_CHECKS`: the first is a runtime that has given up
holding it, the second one that holds it at the price of a core. One restart is the smaller evil, and the grown limit
stays for later starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from syncer import probes, status
from syncer.child import Child
from syncer.process import Process
from syncer.status import ProcessStatus

FIRST_DELAY = 0.25
LONGEST_DELAY = 30.0
HEALTHY = 30.0
OVER_LIMIT_CHECKS = 3
OVER_LIMIT = 1.1
"""Times the soft limit: a process may be this much above it, with its stacks and the program's own data."""
BUSY_CHECKS = 6
BUSY_CORES = 0.4
"""Cores. Collecting without end takes half of what there is (the runtime's own bound), a server at rest a tenth."""
NEXT_TO_LIMIT = 0.9
"""Times the soft limit."""

_log = logging.getLogger(__name__)


def restart_delay(failures: int) -> float:
    """Seconds to wait after the ``failures``-th death in a row (1, 2, …)."""
    return min(FIRST_DELAY * 2.0 ** min(failures - 1, 20), LONGEST_DELAY)


class Keeper:
    """:param changed: called after every change of `status`
    :param memory_mb: the soft limit that an earlier supervisor ended with, 0 for the process's own
    """

    def __init__(self, process: Process, *, log: Path, changed: Callable[[], None], memory_mb: int = 0) -> None:
        self.process = process
        self.ready = asyncio.Event()
        """Set while the process is ready."""
        self._log_file = log
        self._changed = changed
        self._gate = asyncio.Event()
        self._child: Child | None = None
        self._closing: asyncio.Future[str] | None = None
        self._over_limit = self._busy = 0
        self._cpu = (0.0, 0.0)
        self._status = ProcessStatus(
            name=process.name,
            state=status.WAITING,
            since=time.time(),
            soft_memory_mb=max(memory_mb, process.soft_memory_mb),
        )
        self.check_gate()

    @property
    def status(self) -> ProcessStatus:
        return self._status

    @property
    def log_file(self) -> Path:
        return self._log_file

    async def run(self, after: Iterable[Keeper]) -> None:
        """Keep the process; until cancelled, and then `stop` it."""
        needed = tuple(after)
        while True:
            self._enter(status.WAITING)
            await self._gate.wait()
            for keeper in needed:
                await keeper.ready.wait()
            ended = await self._live_once()
            self.ready.clear()
            if not self._gate.is_set():
                continue
            failures = self._status.failures + 1
            delay = restart_delay(failures)
            _log.warning("%s: %s; started again in %.2f s", self.process.name, ended, delay)
            self._enter(status.BACKOFF, failures=failures, last_exit=ended, restarts=self._status.restarts + 1)
            await asyncio.sleep(delay)

    async def stop(self) -> None:
        """Return when the process is gone."""
        self.ready.clear()
        if self._child is not None and not self._child.exited.done():
            _log.info("%s: stop", self.process.name)
            await self._child.stop()
        self._enter(status.STOPPED)

    def check_gate(self) -> None:
        """Look whether the process may run, and end it if it no longer may."""
        if not self.process.gate or Path(self.process.gate).exists():
            self._gate.set()
        elif self._gate.is_set():
            self._gate.clear()
            if self._child is not None:
                self._closing = asyncio.ensure_future(self._child.stop())

    def check_memory(self) -> None:
        """Raise the soft limit, by one restart, of a process that can't live within it."""
        limit = self._status.soft_memory_mb
        if not limit or not self.ready.is_set() or self._child is None:
            return
        private = _private_mb(self._child.pid)
        cores = self._cores_since_last_check(self._child.pid)
        self._over_limit = self._over_limit + 1 if private > limit * OVER_LIMIT else 0
        self._busy = self._busy + 1 if private > limit * NEXT_TO_LIMIT and cores > BUSY_CORES else 0
        if self._over_limit >= OVER_LIMIT_CHECKS or self._busy >= BUSY_CHECKS:
            self._over_limit = self._busy = 0
            _log.warning("%s: needs more than %d MiB; started again with twice as much", self.process.name, limit)
            self._enter(self._status.state, soft_memory_mb=limit * 2)
            self._closing = asyncio.ensure_future(self._child.stop())

    def _cores_since_last_check(self, pid: int) -> float:
        """CPU seconds a second; at the first check of a process, since it was started."""
        before, self._cpu = self._cpu, (time.monotonic(), _cpu_seconds(pid))
        elapsed, used = self._cpu[0] - before[0], self._cpu[1] - before[1]
        return used / elapsed if used >= 0 and elapsed > 0 else 0.0

    async def _live_once(self) -> str:
        """From start to end of one child; returns how it ended."""
        try:
            self._child = child = Child(self.process, log=self._log_file, env=self._environment())
        except OSError as error:
            return f"cannot be started: {error}"
        self._enter(status.STARTING)
        _log.info("%s: started, pid %d", self.process.name, child.pid)
        readiness = asyncio.ensure_future(self._wait_until_ready(child))
        try:
            ended = await asyncio.shield(child.exited)
        finally:
            readiness.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await readiness
        return ended

    async def _wait_until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + self.process.ready.deadline
        while not await probes.is_ready(self.process.ready):
            if time.monotonic() > deadline:
                _log.warning("%s: not ready after %.0f s", self.process.name, self.process.ready.deadline)
                child.signal(signal.SIGKILL)
                return
            await asyncio.sleep(probes.interval(self.process.ready))
        self.ready.set()
        self._enter(status.READY)
        await asyncio.sleep(HEALTHY)
        self._enter(status.READY, failures=0)

    def _environment(self) -> dict[str, str]:
        limit = self._status.soft_memory_mb
        return {**({"GOMEMLIMIT": f"{limit}MiB"} if limit else {}), **self.process.env}

    def _enter(self, state: str, **changes: Any) -> None:
        child = self._child
        alive = child is not None and not child.exited.done()
        self._status = replace(
            self._status,
            state=state,
            since=time.time() if state != self._status.state else self._status.since,
            identity=child.identity if child is not None and alive else None,
            **changes,
        )
        self._changed()


def _cpu_seconds(pid: int) -> float:
    """Of user and system, of all threads; 0 if the process is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _private_mb(pid: int) -> float:
    """RssAnon in MiB; 0 if the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:")), 0.0)
