"""kube-scheduler: command line. One replica, so no leader election."""

from __future__ import annotations

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
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={plane.scheduler_port}",
            f"--requestheader-client-ca-file={plane.pki.certificate(FRONT_PROXY_CA)}",
            "--leader-elect=false",
            "--profiling=false",
        ),
        env=SMALL_GO,
        after=(apiserver.NAME,),
        ready=_probe(plane),
    )


def _probe(plane: ControlPlane) -> Probe:
    if not plane.scheduler_port:
        return Probe()
    return Probe(https_url=f"https://{LOOPBACK}:{plane.scheduler_port}/healthz")
