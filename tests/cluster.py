"""A cluster as a user has it: made, used and removed by commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).parent / "autonodes"


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs, and the commands a user has for it."""

    name: str
    home: Path
    kubectl_path: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "AUTONODES_HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)}

    @property
    def kubeconfig(self) -> Path:
        return self.home / self.name / "admin.kubeconfig"

    def autonodes(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "AUTONODES_HOME": str(self.home)}
        return subprocess.run(
            [COMMAND, *arguments], capture_output=True, text=True, timeout=timeout, check=False, env=environment
        )

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Standard output; a failure raises with what kubectl said."""
        done = subprocess.run(
            [self.kubectl_path, *arguments],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=timeout,
            check=False,
            env=self.environment,
        )
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *documents: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))

    def names(self, kind: str) -> list[str]:
        return [item["metadata"]["name"] for item in self.get(kind)["items"]]

    def nodes(self) -> list[str]:
        return self.names("nodes")


def wait_for(what: str, condition: Callable[[], Any], *, seconds: float = 120, cluster: Cluster | None = None) -> Any:
    """Poll until ``condition`` is true; an AssertionError of the condition counts as "not yet"."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            value = condition()
        except AssertionError as error:
            last, value = error, None
        if value:
            return value
        time.sleep(0.2)
    state = "" if cluster is None else _state(cluster)
    raise AssertionError(f"{what}: not after {seconds:.0f} s ({last})\n{state}")


def _state(cluster: Cluster) -> str:
    parts = []
    for arguments in (
        ("get", "nodes,nodeclaims,nodepools", "-o", "wide"),
        ("get", "pods", "-A", "-o", "wide"),
        ("get", "events", "-A", "--sort-by=.lastTimestamp"),
    ):
        try:
            parts.append("\n".join(cluster.kubectl(*arguments).splitlines()[-40:]))
        except (AssertionError, subprocess.TimeoutExpired) as error:
            parts.append(str(error))
    for log in sorted((cluster.home / cluster.name / "logs").glob("controller*.log")):
        parts.append("\n".join(log.read_text(errors="replace").splitlines()[-30:]))
    return "\n\n".join(parts)


def kubectl_path() -> Path:
    return component_path("kubectl")


def component_path(name: str) -> Path:
    """Of a pinned program."""
    rows = json.loads(
        subprocess.run([COMMAND, "components", "--output", "json"], capture_output=True, text=True, check=True).stdout
    )
    return next(Path(row["path"]) for row in rows if row["binary"] == name)
