"""The supervisor of a cluster, seen from a command: start it, ask it, end it, and say why it can't do its work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from autonodes.cli.diagnosis import ComponentFault, diagnose
from autonodes.cli.state import Cluster
from syncer import logfiles, status
from syncer.files import make_private_directory, write_durably
from syncer.leftovers import clear_leftovers
from syncer.plan import Plan
from syncer.status import READY, WAITING, ProcessStatus, SupervisorStatus

GIVE_UP_AFTER: Final = 3
"""Deaths in a row of one component until it counts as one that will not stay up."""
LOG_LINES: Final = 12
_POLL: Final = 0.02
_LONGEST_STOP: Final = 90.0

_PASSED_ON: Final = ("PATH", "HOME", "LANG", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "XDG_RUNTIME_DIR")
"""Of the user's environment. Proxy settings above all are not: the components talk to this machine and its nodes."""


class Supervision:
    """:param plan: what the supervisor keeps, or is to keep"""

    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        self._cluster, self._plan = cluster, plan
        self._started: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, cluster: Cluster) -> Supervision | None:
        """As it was last started; None if it never was."""
        try:
            return cls(cluster, Plan.read(cluster.plan_file))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def status(self) -> SupervisorStatus | None:
        """None when no supervisor runs."""
        current = status.read(self._plan.status_file)
        return current if current is not None and current.identity.alive() else None

    def ensure(self) -> bool:
        """Have a supervisor that keeps this plan; False if one did already."""
        if self.status() is not None:
            if Plan.read(self._cluster.plan_file) == self._plan:
                return False
            self.stop()
        self.start()
        return True

    def start(self) -> None:
        """In the background, with a session of its own: it stays when the terminal goes."""
        self._cluster.make_directories()
        self._plan.write(self._cluster.plan_file)
        log = self._plan.log_file("supervisor")
        logfiles.rotate(log)
        output = logfiles.open_log(log)
        try:
            self._started = subprocess.Popen(
                command(self._cluster),
                cwd=self._cluster.directory,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(output)

    def wait_for(self, name: str, *, deadline: float) -> ProcessStatus:
        """Until the process ``name`` is ready.

        :param deadline: in `time.monotonic`'s seconds
        :raises ComponentFault: a component does not stay up, or ``name`` is not ready in time
        """
        while True:
            current = self.status()
            process = current.process(name) if current else None
            if process is not None and process.state == READY:
                return process
            self.check()
            if time.monotonic() > deadline:
                raise self._fault(self._culprit(name), "is not ready in time")
            time.sleep(_POLL)

    def check(self) -> None:
        """:raises ComponentFault: a component does not stay up, or the supervisor itself"""
        if self._started is not None and (code := self._started.poll()) is not None and self.status() is None:
            raise self._fault("supervisor", f"ended with exit code {code}")
        current = self.status()
        for process in current.processes if current else ():
            if process.failures >= GIVE_UP_AFTER and process.state != READY:
                raise self._fault(process.name, f"does not stay up ({process.last_exit}, {process.failures} times)")

    def open_gate(self) -> None:
        """Let what waits for the cluster to be bootstrapped start."""
        write_durably(self._cluster.bootstrapped_file, b"")
        self._look_at_gates()

    def close_gate(self, name: str) -> None:
        """End what was let in, and wait until the process ``name`` is gone."""
        self._cluster.bootstrapped_file.unlink(missing_ok=True)
        self._look_at_gates()

        def gated() -> bool:
            current = self.status()
            process = current.process(name) if current else None
            return process is None or process.state == WAITING

        _wait(gated)

    def _look_at_gates(self) -> None:
        if (current := self.status()) is not None:
            os.kill(current.identity.pid, signal.SIGHUP)

    def stop(self) -> None:
        """End the supervisor and everything it keeps; safe to repeat, and when it was killed before."""
        if (current := self.status()) is not None:
            os.kill(current.identity.pid, signal.SIGTERM)
            if not _wait(lambda: self._ended(current)):
                os.kill(current.identity.pid, signal.SIGKILL)
                _wait(lambda: self._ended(current))
        clear_leftovers(self._plan.status_file)

    def _ended(self, current: SupervisorStatus) -> bool:
        if self._started is not None:
            self._started.poll()  # it is our child: a dead one must be looked after
        return not current.identity.alive()

    def _culprit(self, name: str) -> str:
        """The first process on the way to ``name`` that is not ready."""
        current = self.status()
        if current is None:
            return "supervisor"
        return next((each.name for each in current.processes if each.state != READY and each.restarts), name)

    def _fault(self, name: str, what: str) -> ComponentFault:
        lines = logfiles.tail(self._plan.log_file(name), lines=LOG_LINES)
        return diagnose(name, what, lines, log=self._plan.log_file(name))


def command(cluster: Cluster) -> list[str]:
    return [sys.executable, "-m", "syncer.supervisor", str(cluster.plan_file)]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("AUTONODES_")}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def prepare_run_dir(run_dir: Path) -> None:
    """A reboot removes it."""
    make_private_directory(run_dir)


def _wait(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _LONGEST_STOP
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
