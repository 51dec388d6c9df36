from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from providers.local.machine import supervision

SCRIPT = """
import json, sys
from providers.local.machine.order import Process
from providers.local.machine.supervision import Supervisor
processes = [Process(name=n, argv=tuple(a), ready_socket=s) for n, a, s in json.loads(sys.argv[2])]
Supervisor(processes, programs="/bin", logs=sys.argv[1]).run()
"""
LISTEN = "import socket,time; s=socket.socket(socket.AF_UNIX); s.bind('{}'); s.listen(); print('ready'); time.sleep(99)"


class Run:
    """A supervisor in a process of its own."""

    def __init__(self, directory: Path, processes: list[tuple[str, list[str], str | None]]) -> None:
        self.directory = directory
        arguments = [sys.executable, "-c", SCRIPT, str(directory), json.dumps(processes)]
        self.process = subprocess.Popen(arguments, stderr=subprocess.PIPE)

    def log(self, name: str) -> str:
        path = self.directory / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=30)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*processes: tuple[str, list[str], str | None]) -> Run:
        runs.append(Run(tmp_path, list(processes)))
        return runs[-1]

    yield start
    for each in runs:
        each.stop()
        assert each.process.stderr is not None
        each.process.stderr.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_next_process_starts_when_the_one_before_it_is_ready(run: Callable[..., Run], tmp_path: Path) -> None:
    socket = str(tmp_path / "ready.sock")
    listen = f'sleep 0.2; exec {sys.executable} -c "{LISTEN.format(socket)}"'
    look = f"[ -S {socket} ] && echo it was there; exec sleep 99"
    running = run(("first", ["sh", "-c", listen], socket), ("second", ["sh", "-c", look], None))
    until(lambda: "it was there" in running.log("second"))


def test_what_dies_is_started_again(run: Callable[..., Run]) -> None:
    running = run(("short", ["sh", "-c", "echo once more; exit 3"], None))
    until(lambda: running.log("short").count("once more") >= 3)


def test_a_program_that_is_not_there_does_not_stop_the_others(run: Callable[..., Run]) -> None:
    running = run(("missing", ["no-such-program"], None), ("other", ["sh", "-c", "echo here; exec sleep 99"], None))
    until(lambda: "here" in running.log("other"))


def test_stopping_ends_all_and_reports_success(run: Callable[..., Run]) -> None:
    running = run(("steady", ["sh", "-c", "echo $$; exec sleep 99"], None))
    until(lambda: running.log("steady").endswith("\n"))
    assert running.stop() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(running.log("steady")), signal.SIG_DFL)


def test_pauses_double_up_to_a_bound() -> None:
    assert [supervision.pause(failures) for failures in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert supervision.pause(1000) == supervision.LONGEST_PAUSE


def test_a_log_that_is_too_long_is_moved_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with path.open("a") as writer:
        writer.write("a" * 100)
        writer.flush()
        supervision.shorten(str(path), 100)
        assert path.stat().st_size == 100
        supervision.shorten(str(path), 99)
        writer.write("b")
    assert (tmp_path / "x.log.1").read_text() == "a" * 100
    assert path.read_text() == "b"
    supervision.shorten(str(tmp_path / "missing"), 1)
