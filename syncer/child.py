"""One running process: started so that it can't outlive its supervisor, stopped with everything that it started.

The kernel kills it when the supervisor dies, however that happens (prctl(2), PR_SET_PDEATHSIG), so a killed supervisor
leaves no orphan and no second kine on the same database. Its exit is seen through a pidfd, without threads and signals.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from syncer.leftovers import kill_group
from syncer.logfiles import open_log
from syncer.process import Process
from syncer.status import Identity

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Child:
    """:raises OSError: the program can't be started"""

    def __init__(self, process: Process, *, log: Path, env: Mapping[str, str]) -> None:
        self._process = process
        output = open_log(log)
        try:
            self._popen = subprocess.Popen(
                process.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **env},
                start_new_session=True,
                preexec_fn=_DieWith(os.getpid()),
            )
        finally:
            os.close(output)
        self.pid = self._popen.pid
        self.identity = Identity.of(self.pid)
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[str] = loop.create_future()
        """How it ended, in words; set when the process and its group are gone."""
        self._pidfd = os.pidfd_open(self.pid)
        loop.add_reader(self._pidfd, self._reap)

    async def stop(self) -> str:
        """SIGTERM, then SIGKILL after the process's deadline; returns how it ended."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._process.stop_deadline):
                return await asyncio.shield(self.exited)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await self.exited

    def signal(self, number: signal.Signals) -> None:
        if not self.exited.done():
            self._popen.send_signal(number)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        kill_group(self.pid)  # strictly before the process is reaped: until then its number is not given away
        self.exited.set_result(_in_words(self._popen.wait()))


def _in_words(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


class _DieWith:
    """Runs in the child between fork and exec: prepared before, so that nothing is looked up there."""

    def __init__(self, supervisor: int) -> None:
        self._supervisor = supervisor

    def __call__(self) -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != self._supervisor:  # it died before the line above
            os._exit(1)
