"""kube-controller-manager: command line.

It signs the kubelets' certificates but approves none: the approver of this project ties each request to its claim,
and the one that comes with the controller manager is off so that nothing else can say yes. There is one replica, so
there is no leader election.
"""

from __future__ import annotations

from syncer.controlplane import apiserver
from syncer.controlplane.settings import LOOPBACK, ControlPlane
from syncer.controlplane.tuning import FRUGAL_GO
from syncer.pki import CLUSTER_CA, FRONT_PROXY_CA, SERVICE_ACCOUNT
from syncer.process import Probe, Process

NAME = "kube-controller-manager"
CONTROLLERS = "*,bootstrapsigner,tokencleaner,-certificatesigningrequest-approving-controller"
SIGNED_FOR = "8760h"
"""Lifetime of the kubelets' certificates, one year; they rotate by themselves before it ends."""


def process(plane: ControlPlane) -> Process:
    kubeconfig = plane.kubeconfig("controller-manager")
    pki = plane.pki
    return Process(
        name=NAME,
        argv=(
            str(plane.binaries[NAME]),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={plane.controller_manager_port}",
            f"--requestheader-client-ca-file={pki.certificate(FRONT_PROXY_CA)}",
            "--leader-elect=false",
            "--profiling=false",
            f"--controllers={CONTROLLERS}",
            "--use-service-account-credentials=true",
            "--kube-api-qps=100",
            "--kube-api-burst=200",
            f"--root-ca-file={pki.certificate(CLUSTER_CA)}",
            f"--service-account-private-key-file={pki.key(SERVICE_ACCOUNT)}",
            f"--cluster-signing-cert-file={pki.certificate(CLUSTER_CA)}",
            f"--cluster-signing-key-file={pki.key(CLUSTER_CA)}",
            f"--cluster-signing-duration={SIGNED_FOR}",
            f"--cluster-name={plane.name}",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={plane.pod_cidr}",
            f"--node-cidr-mask-size={plane.node_cidr_mask}",
            f"--service-cluster-ip-range={plane.service_cidr}",
        ),
        env=FRUGAL_GO,
        after=(apiserver.NAME,),
        ready=_probe(plane),
    )


def _probe(plane: ControlPlane) -> Probe:
    if not plane.controller_manager_port:
        return Probe()
    return Probe(https_url=f"https://{LOOPBACK}:{plane.controller_manager_port}/healthz")
