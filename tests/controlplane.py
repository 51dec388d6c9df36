"""A real API server for a test: kine and kube-apiserver, if wanted with controller manager and scheduler.

There is no supervisor here and no node, so it is up in about three seconds. Pods stay Pending and nobody answers behind
the tunnel.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from autonodes.api.crds import crds
from autonodes.components import locate
from syncer.controlplane import apiserver, controllermanager, kine, rbac, scheduler, temporary
from syncer.controlplane.settings import ControlPlane
from syncer.controlplane.temporary import free_port

COMPONENTS = ("kine", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")


@dataclass(frozen=True)
class RunningControlPlane:
    plane: ControlPlane

    @property
    def kubeconfig(self) -> Path:
        """Of the administrator (``system:masters``)."""
        return self.plane.admin_kubeconfig

    @property
    def url(self) -> str:
        return self.plane.url

    def kubeconfig_of(self, user: str) -> Path:
        """``controller``, ``konnectivity-server``, ``controller-manager`` or ``scheduler``."""
        return self.plane.kubeconfig(user)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of kubectl as the administrator; a failure raises with its standard error in the text."""
        done = subprocess.run(
            [self.plane.binaries["kubectl"], f"--kubeconfig={self.kubeconfig}", *arguments],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def install_kinds(self) -> None:
        """Our custom resources, and wait until they are served."""
        kinds = {"apiVersion": "v1", "kind": "List", "items": crds()}
        self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(kinds))
        self.until_kinds_are_served()

    def until_kinds_are_served(self, *, seconds: float = 60.0) -> None:
        """Wait until all custom resources are; ``kubectl wait`` fails on one that has no conditions yet."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = json.loads(self.kubectl("get", "crd", "-o", "json"))["items"]
            conditions = [each.get("status", {}).get("conditions") or () for each in found]
            if all(any((c["type"], c["status"]) == ("Established", "True") for c in of_one) for of_one in conditions):
                return
            time.sleep(0.05)
        raise AssertionError(f"not served after {seconds:.0f} s: {[each['metadata']['name'] for each in found]}")


@functools.cache
def binaries() -> dict[str, Path]:
    """Of the components, from the directories in AUTONODES_COMPONENTS and then the cache; the test fails without."""
    found, missing = locate(COMPONENTS)
    if missing:
        pytest.fail(f"no {', '.join(map(str, missing))}: `autonodes components --fetch` gets them")
    return {name: binary.path for name, binary in found.items()}


@contextlib.contextmanager
def control_plane(
    directory: Path,
    *,
    controller_manager: bool = False,
    with_scheduler: bool = False,
    konnectivity: bool = False,
    pod_topology_spread: str = "",
    flags: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Iterator[RunningControlPlane]:
    """Start, wait until ready, and leave nothing behind.

    :param flags: more of them, by the process's name
    :param pod_topology_spread: of `syncer.controlplane.settings.ControlPlane`
    :param konnectivity: the API server dials nodes through ``plane.konnectivity_socket``, that the test must serve
    """
    run_dir = Path(tempfile.mkdtemp(prefix="an-"))  # short, for the sake of the socket's path
    plane = ControlPlane(
        name="test",
        state_dir=directory / "cluster",
        run_dir=run_dir,
        binaries=binaries(),
        port=free_port(),
        bind_address="127.0.0.1",
        konnectivity=konnectivity,
        pod_topology_spread=pod_topology_spread,
    )
    processes = [kine.process(plane), apiserver.process(plane)]
    processes += [controllermanager.process(plane)] if controller_manager else []
    processes += [scheduler.process(plane)] if with_scheduler else []
    processes = [replace(each, argv=(*each.argv, *flags.get(each.name, ()))) for each in processes]
    try:
        with temporary.running(plane, processes, directory):
            cluster = RunningControlPlane(plane)
            cluster.kubectl("apply", "-f", "-", stdin=json.dumps(_manifest_list(rbac.manifests())))
            yield cluster
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


def _manifest_list(objects: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": objects}
