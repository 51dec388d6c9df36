"""The supervisor as a process of its own, with small real processes under it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from syncer import status
from syncer.leftovers import clear_leftovers
from syncer.plan import Plan
from syncer.process import Probe, Process
from syncer.status import Identity, ProcessStatus, SupervisorStatus
from syncer.supervisor import ALREADY_RUNNING

ROOT = Path(__file__).parents[2]
FOR_EVER = "while :; do sleep 0.05; done"

T = TypeVar("T")


class Running:
    """A supervisor that the test started, and what it says of itself."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.process = subprocess.Popen(
            [sys.executable, "-m", "syncer.supervisor", str(plan.run_dir / "plan.json")],
            cwd=ROOT,
            stderr=os.open(plan.log_file("supervisor"), os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC),
        )

    def status(self, name: str) -> ProcessStatus | None:
        current = status.read(self.plan.status_file)
        return current.process(name) if current and current.identity.pid == self.process.pid else None

    def wait_for(self, name: str, condition: Callable[[ProcessStatus], bool]) -> ProcessStatus:
        return eventually(lambda: next((each for each in [self.status(name)] if each and condition(each)), None))

    def ready(self, name: str) -> Identity:
        found = self.wait_for(name, lambda process: process.state == status.READY and process.identity is not None)
        assert found.identity is not None
        return found.identity

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=30)


class Cluster:
    """A place for plans; whatever a test left running is ended."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[Running] = []
        for name in ("run", "logs"):
            (directory / name).mkdir()

    def start(self, *processes: Process) -> Running:
        plan = Plan(run_dir=self.directory / "run", log_dir=self.directory / "logs", processes=processes)
        plan.write(plan.run_dir / "plan.json")
        self.started.append(Running(plan))
        return self.started[-1]

    def close(self) -> None:
        for running in self.started:
            if running.process.poll() is None:
                running.stop()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


def eventually(look: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(0.01)
    raise AssertionError("not after 30 s")


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def gone(identity: Identity) -> bool | None:
    return None if identity.alive() else True


def shell(name: str, script: str = FOR_EVER, *, after: tuple[str, ...] = ()) -> Process:
    return Process(name=name, argv=("/bin/sh", "-c", script), after=after, stop_deadline=5)


def test_a_process_starts_when_those_before_it_are_ready(cluster: Cluster) -> None:
    path = cluster.directory / "run" / "first.sock"
    listen = f"import socket, time; s = socket.socket(1); s.bind({str(path)!r}); s.listen(); time.sleep(1000)"
    first = Process(name="first", argv=(sys.executable, "-c", listen), ready=Probe(unix_socket=str(path)))
    second = shell("second", f"test -S {path} && {FOR_EVER}", after=("first",))
    running = cluster.start(first, second)
    running.ready("second")
    found = running.status("second")
    assert found is not None
    assert found.restarts == 0


def test_processes_stop_in_reverse_order(cluster: Cluster) -> None:
    order = cluster.directory / "order"

    def notes_its_end(name: str, *after: str) -> Process:
        return shell(name, f"trap 'echo {name} >> {order}; exit' TERM; {FOR_EVER}", after=after)

    running = cluster.start(notes_its_end("a"), notes_its_end("b", "a"), notes_its_end("c", "b"))
    running.ready("c")
    time.sleep(0.2)  # the shells set their traps
    assert running.stop() == 0
    assert order.read_text().split() == ["c", "b", "a"]


def test_what_dies_comes_back_as_a_new_process(cluster: Cluster) -> None:
    running = cluster.start(shell("a"))
    before = running.ready("a")
    os.kill(before.pid, signal.SIGKILL)
    found = running.wait_for("a", lambda process: process.restarts == 1 and process.state == status.READY)
    assert found.identity != before
    assert found.last_exit == "killed by SIGKILL"


def test_a_crash_loop_shows_in_the_status_and_ends_when_its_cause_does(cluster: Cluster) -> None:
    cure = cluster.directory / "cure"
    running = cluster.start(shell("a", f"test -e {cure} || {{ echo no cure >&2; exit 7; }}; {FOR_EVER}"))
    found = running.wait_for("a", lambda process: process.failures >= 2)
    assert found.last_exit == "exit code 7"
    assert "no cure" in running.plan.log_file("a").read_text()
    cure.touch()
    assert running.ready("a").alive()


def test_a_program_that_is_not_there_is_named(cluster: Cluster) -> None:
    running = cluster.start(Process(name="a", argv=("/nowhere/program",)))
    found = running.wait_for("a", lambda process: process.failures >= 1)
    assert "cannot be started" in found.last_exit
    assert "/nowhere/program" in found.last_exit


def test_a_process_that_does_not_become_ready_is_killed_and_started_again(cluster: Cluster) -> None:
    never = Probe(unix_socket=str(cluster.directory / "never.sock"), deadline=0.2)
    running = cluster.start(Process(name="a", argv=("/bin/sh", "-c", FOR_EVER), ready=never))
    found = running.wait_for("a", lambda process: process.restarts >= 1)
    assert found.last_exit == "killed by SIGKILL"


def test_a_process_that_will_not_stop_is_killed_with_its_children(cluster: Cluster) -> None:
    pid_file = cluster.directory / "child"
    script = f"trap '' TERM; sleep 1000 & echo $! > {pid_file}.new; mv {pid_file}.new {pid_file}; {FOR_EVER}"
    stubborn = Process(name="a", argv=("/bin/sh", "-c", script), stop_deadline=0.2)
    running = cluster.start(stubborn)
    parent = running.ready("a")
    child = Identity.of(int(eventually(lambda: pid_file.read_text() if pid_file.exists() else None)))
    assert running.stop() == 0
    assert not parent.alive()
    assert child is not None
    eventually(lambda: gone(child))


def test_a_killed_supervisor_leaves_no_orphan_and_the_next_one_goes_on(cluster: Cluster) -> None:
    first = cluster.start(shell("a"), shell("b", after=("a",)))
    orphans = [first.ready("a"), first.ready("b")]
    first.process.kill()
    first.process.wait()
    for orphan in orphans:
        eventually(lambda orphan=orphan: gone(orphan))  # type: ignore[misc]
    second = cluster.start(shell("a"), shell("b", after=("a",)))
    assert second.ready("b").alive()


def test_there_is_one_supervisor_for_a_cluster(cluster: Cluster) -> None:
    first = cluster.start(shell("a"))
    kept = first.ready("a")
    second = cluster.start(shell("a"))
    assert second.process.wait(timeout=30) == ALREADY_RUNNING
    assert kept.alive()


def test_a_process_runs_only_while_its_gate_is_there(cluster: Cluster) -> None:
    gate = cluster.directory / "gate"
    gated = Process(name="gated", argv=("/bin/sh", "-c", FOR_EVER), gate=str(gate))
    running = cluster.start(shell("free"), gated)
    running.ready("free")
    running.wait_for("gated", lambda process: process.state == status.WAITING)
    gate.touch()
    running.process.send_signal(signal.SIGHUP)
    kept = running.ready("gated")
    gate.unlink()
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("gated", lambda process: process.state == status.WAITING)
    assert not kept.alive()


def test_leftovers_are_killed_but_never_a_stranger_with_the_same_number(cluster: Cluster) -> None:
    processes = [subprocess.Popen(["/bin/sh", "-c", FOR_EVER], start_new_session=True) for _ in range(2)]
    leftover, stranger = (Identity.of(process.pid) for process in processes)
    assert leftover is not None
    assert stranger is not None
    try:
        recorded = [leftover, Identity(stranger.pid, stranger.started - 1)]
        file = cluster.directory / "run" / "status.json"
        entries = tuple(
            ProcessStatus(name=f"p{n}", state=status.READY, since=0.0, identity=each) for n, each in enumerate(recorded)
        )
        status.write(file, SupervisorStatus(identity=Identity(1, -1), processes=entries))
        clear_leftovers(file)
        assert not leftover.alive()
        assert stranger.alive()
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_processes_are_kept_while_the_disk_with_their_logs_is_full(cluster: Cluster) -> None:
    logs = cluster.directory / "logs"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(logs)], check=True)
    try:
        fill(logs / "filler")
        running = cluster.start(shell("a", f"echo words; {FOR_EVER}"))
        os.kill(running.ready("a").pid, signal.SIGKILL)
        running.wait_for("a", lambda process: process.restarts == 1 and process.state == status.READY)
        assert running.stop() == 0
    finally:
        subprocess.run(["umount", "-l", str(logs)], check=True)
        shutil.rmtree(logs, ignore_errors=True)
