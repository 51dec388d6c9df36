"""kube-scheduler: command line and configuration. One replica, so no leader election.

The configuration's name has its digest in it: a scheduler reads it at its start only, and is started anew when its
command line changes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from syncer.controlplane import apiserver
from syncer.controlplane.settings import LOOPBACK, ControlPlane
from syncer.controlplane.tuning import SMALL_GO
from syncer.pki import FRONT_PROXY_CA
from syncer.process import Probe, Process

NAME = "kube-scheduler"


def process(plane: ControlPlane) -> Process:
    kubeconfig = plane.kubeconfig("scheduler")
    return Process(
        name=NAME,
        argv=(
            str(plane.binaries[NAME]),
            f"--config={_config_file(plane)}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={plane.scheduler_port}",
            f"--requestheader-client-ca-file={plane.pki.certificate(FRONT_PROXY_CA)}",
        ),
        env=SMALL_GO,
        after=(apiserver.NAME,),
        ready=_probe(plane),
    )


def config_files(plane: ControlPlane) -> dict[str, bytes]:
    """File name in the configuration directory → content (JSON, which is YAML)."""
    return {_config_file(plane).name: _content(plane)}


def _config_file(plane: ControlPlane) -> Path:
    return plane.config_dir / f"scheduler-{hashlib.sha256(_content(plane)).hexdigest()[:8]}.json"


def _content(plane: ControlPlane) -> bytes:
    profile: dict[str, object] = {"schedulerName": "default-scheduler"}
    if plane.pod_topology_spread:
        profile["pluginConfig"] = [{"name": "PodTopologySpread", "args": json.loads(plane.pod_topology_spread)}]
    configuration = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(plane.kubeconfig("scheduler"))},
        "leaderElection": {"leaderElect": False},
        "enableProfiling": False,
        "profiles": [profile],
    }
    return json.dumps(configuration, indent=1).encode()


def _probe(plane: ControlPlane) -> Probe:
    if not plane.scheduler_port:
        return Probe()
    return Probe(https_url=f"https://{LOOPBACK}:{plane.scheduler_port}/healthz")
