"""A controller that is killed at each step of a node's life: one machine, never two, and none that is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autonodes.controllers.program import LEASE_NAME, LEASE_NAMESPACE
from autonodes.core.labels import CLAIM_UID
from cluster import Cluster, kubectl_path
from e2e.test_cluster import pod
from syncer import status
from syncer.plan import Plan

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1000)]

HARNESS = Path(__file__).parents[1] / "controller_killed.py"


class Killing:
    """Controllers of one cluster, one after another, and what is seen while they live and die."""

    def __init__(self, cluster: Cluster, file: Path) -> None:
        self.cluster, self._file = cluster, file
        self.machines: set[str] = set()
        self.claims: set[str] = set()

    def until(self, done: str) -> None:
        """Start controllers until one brings about what ``done`` (a method) asks for, and is not killed before."""
        deadline = time.monotonic() + 450
        while time.monotonic() < deadline:
            with (self._file.parent / "controller.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, HARNESS, self.cluster.name, self._file],
                    stdout=log,
                    stderr=log,
                    env={**self.cluster.environment, "PYTHONPATH": str(HARNESS.parent)},
                )
                try:
                    if self._lives_to_see(process, done):
                        return
                finally:
                    process.kill()
                    process.wait()
            self._release_lease()
        raise AssertionError(
            f"not {done}: {self.kills()}\n{(self._file.parent / 'controller.log').read_text()[-3000:]}"
        )

    def kills(self) -> list[str]:
        return self._file.read_text().splitlines()

    def running(self) -> bool:
        return bool(self.cluster.get("pod", "one")["status"].get("phase") == "Running")

    def gone(self) -> bool:
        return not self.machines_now() and not self.cluster.get("nodeclaims")["items"]

    def machines_now(self) -> set[str]:
        directory = self.cluster.home / self.cluster.name / "local" / "machines"
        return (
            {each.name for each in directory.iterdir() if not each.name.startswith(".")}
            if directory.exists()
            else set()
        )

    def _lives_to_see(self, process: subprocess.Popen[bytes], done: str) -> bool:
        while process.poll() is None:
            self.machines |= self.machines_now()
            self.claims |= {each["metadata"]["name"] for each in self.cluster.get("nodeclaims")["items"]}
            if getattr(self, done)():
                return process.poll() is None
            time.sleep(0.1)
        assert process.returncode == -signal.SIGKILL, self._said()
        return False

    def _release_lease(self) -> None:
        """Its holder is dead for sure, so nobody need wait until it has expired."""
        self.cluster.kubectl("delete", "lease", "-n", LEASE_NAMESPACE, LEASE_NAME, "--ignore-not-found")


def test_a_controller_killed_at_every_step_buys_one_machine_and_leaves_none(tmp_path: Path) -> None:
    cluster = Cluster(name="killed", home=tmp_path, kubectl_path=kubectl_path())
    supervisor = 0
    try:
        up = cluster.autonodes("up", "--name", cluster.name)
        assert up.returncode == 0, up.stderr
        supervisor = _take_the_controller_away(cluster)
        cluster.kubectl(
            "patch", "nodepool", "default", "--type=merge", "-p", '{"spec":{"disruption":{"consolidateAfter":"0s"}}}'
        )
        killing = Killing(cluster, tmp_path / "steps")
        cluster.apply(pod("one", "sleep 3600"))
        killing.until("running")
        assert len(killing.machines_now()) == 1
        assert (len(killing.machines), len(killing.claims)) == (1, 1), killing.kills()
        cluster.kubectl("delete", "pod", "one")
        killing.until("gone")
        assert (len(killing.machines), len(killing.claims)) == (1, 1), killing.kills()
        assert {"before provider create", "after provider create", "after provider delete"} <= set(killing.kills())
        assert not cluster.kubectl("get", "secrets", "-n", "kube-system", "-l", CLAIM_UID, "-o", "name")
    finally:
        if supervisor:
            os.kill(supervisor, signal.SIGCONT)
        cluster.autonodes("down", "--name", cluster.name)


def _take_the_controller_away(cluster: Cluster) -> int:
    """Stop the supervisor, so that it starts no other, and kill the controller; returns the supervisor."""
    current = status.read(Plan.read(cluster.home / cluster.name / "supervisor.json").status_file)
    assert current is not None
    os.kill(current.identity.pid, signal.SIGSTOP)
    controller = current.process("controller")
    assert controller is not None
    assert controller.identity is not None
    os.kill(controller.identity.pid, signal.SIGKILL)
    return current.identity.pid
