"""The life of a machine's first process: start the others in order, restart what dies, reap what is orphaned.

A process that another waits for (its ``ready_socket``) must accept a connection before the next is started; later the
order no longer matters, and each restarts by itself after a pause that doubles with every early death. The loop sleeps
in one system call until a child ends, a pause is over or it is told to stop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from providers.local.machine.order import Process

FIRST_PAUSE: Final = 0.2
"""Seconds before the first restart."""
LONGEST_PAUSE: Final = 30.0
STEADY_AFTER: Final = 60.0
"""Seconds after which a process counts as having worked: its next death pauses for `FIRST_PAUSE` again."""
STOP_WITHIN: Final = 10.0
LOG_BYTES: Final = 16 * 2**20
"""A log that is longer is moved to ``NAME.log.1`` (which is replaced) and begun anew."""

_READY_POLL: Final = 0.01
_LOOK_AROUND: Final = 60.0
_PATH: Final = "/opt/autonodes/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WAKE: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})


def pause(failures: int) -> float:
    """Seconds before the restart that follows so many early deaths in a row."""
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 16)))


@dataclass(slots=True)
class _Child:
    process: Process
    pid: int = 0
    started_at: float = 0.0
    failures: int = 0
    due_at: float = 0.0


class Supervisor:
    """:param programs: the directory in which the first word of each ``argv`` is found
    :param logs: the directory for ``NAME.log``
    """

    def __init__(self, processes: Sequence[Process], *, programs: str, logs: str) -> None:
        self._children = [_Child(process) for process in processes]
        self._begun = 0
        self._programs, self._logs = programs, logs
        self._looked_at = time.monotonic()

    def run(self) -> None:
        """Return when told to stop, with all children gone."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WAKE)
        while True:
            self._reap()
            self._start_due()
            woken = signal.sigtimedwait(_WAKE, self._patience())
            if woken is not None and woken.si_signo != signal.SIGCHLD:
                break
        self._stop()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children:
                if child.pid == pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, code: int) -> None:
        now = time.monotonic()
        steady = now - child.started_at >= STEADY_AFTER
        child.pid, child.failures = 0, 1 if steady else child.failures + 1
        child.due_at = now + pause(child.failures)
        _say(f"{child.process.name} ended with {code}; starting it again in {pause(child.failures):.1f} s")

    def _start_due(self) -> None:
        """Begin with the next process when the one before is ready; start again those whose pause is over."""
        now = time.monotonic()
        while self._begun < len(self._children) and (self._begun == 0 or self._ready(self._begun - 1)):
            self._begun += 1
            self._start(self._children[self._begun - 1])
        for child in self._children[: self._begun]:
            if child.pid == 0 and child.due_at <= now:
                self._start(child)
        if now - self._looked_at >= _LOOK_AROUND:
            self._looked_at = now
            for child in self._children:
                shorten(self._log(child), LOG_BYTES)

    def _patience(self) -> float:
        now = time.monotonic()
        waits = [child.due_at - now for child in self._children[: self._begun] if child.pid == 0]
        if self._begun < len(self._children):
            waits.append(_READY_POLL)
        return max(0.0, min([_LOOK_AROUND, *waits]))

    def _ready(self, index: int) -> bool:
        path = self._children[index].process.ready_socket
        return path is None or accepts(path)

    def _start(self, child: _Child) -> None:
        child.started_at = time.monotonic()
        try:
            child.pid = self._spawn(child)
        except OSError as error:
            child.failures += 1
            child.due_at = child.started_at + pause(child.failures)
            _say(f"{child.process.name} cannot be started: {error}")

    def _spawn(self, child: _Child) -> int:
        name, *arguments = child.process.argv
        return os.posix_spawn(
            f"{self._programs}/{name}",
            [name, *arguments],
            {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", **child.process.env},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, self._log(child), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
        )

    def _log(self, child: _Child) -> str:
        return f"{self._logs}/{child.process.name}.log"

    def _stop(self) -> None:
        deadline = time.monotonic() + STOP_WITHIN
        for child in reversed(self._children):
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)
            while child.pid and time.monotonic() < deadline:
                signal.sigtimedwait({signal.SIGCHLD}, max(0.0, deadline - time.monotonic()))
                self._reap()


def accepts(path: str) -> bool:
    """Whether something listens on the unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == 0


def shorten(path: str, limit: int) -> None:
    """Move a log that has outgrown ``limit`` bytes aside. Its writer keeps it open for appending, so it is copied and
    cut; lines written between the two are lost."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb+") as log:
        size = os.fstat(log.fileno()).st_size
        if size <= limit:
            return
        with open(f"{path}.1", "wb") as old:
            while copied := os.sendfile(old.fileno(), log.fileno(), None, size):
                size -= copied
        log.truncate(0)


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", file=sys.stderr, flush=True)
