"""kube-apiserver: command line and the two files that it reads.

Anonymous requests are refused but for the health endpoints, which the supervisor asks without a credential. With
Konnectivity on, everything that the API server dials (kubelets, pods behind webhooks and aggregated APIs,
services) goes out through one unix socket, because nodes can't be reached from here.
"""

from __future__ import annotations

import json

from syncer.controlplane import kine
from syncer.controlplane.settings import LOOPBACK, ControlPlane
from syncer.controlplane.tuning import API_SERVER_SOFT_MEMORY_MB, SMALL_GO
from syncer.pki import CLUSTER_CA, FRONT_PROXY_CA, SERVICE_ACCOUNT
from syncer.process import Probe, Process

NAME = "kube-apiserver"
READY_DEADLINE = 180.0
STOP_DEADLINE = 5.0
"""Seconds. It would wait a minute for watches that nobody ends; what it has answered is in the store."""
"""Seconds; 3 are usual, and a machine under load takes many times as long."""
SERVING = "apiserver"
KUBELET_CLIENT = "apiserver-kubelet-client"
FRONT_PROXY_CLIENT = "front-proxy-client"


def process(plane: ControlPlane) -> Process:
    flags = [*_serving(plane), *_authentication(plane), *_service_accounts(plane), *_kubelets(plane), *_store(plane)]
    if plane.konnectivity:
        flags.append(f"--egress-selector-config-file={plane.config_dir / 'egress-selector.json'}")
    return Process(
        name=NAME,
        argv=(str(plane.binaries[NAME]), *flags),
        env=SMALL_GO,
        after=(kine.NAME,),
        soft_memory_mb=API_SERVER_SOFT_MEMORY_MB,
        ready=Probe(
            https_url=f"https://{LOOPBACK}:{plane.port}/readyz",
            ca_file=str(plane.pki.certificate(CLUSTER_CA)),
            deadline=READY_DEADLINE,
        ),
        stop_deadline=STOP_DEADLINE,
    )


def config_files(plane: ControlPlane) -> dict[str, bytes]:
    """File name in the configuration directory → content (JSON, which is YAML)."""
    return {
        "authentication.json": json.dumps(_authentication_configuration(), indent=1).encode(),
        "egress-selector.json": json.dumps(_egress_selector(plane), indent=1).encode(),
    }


def _serving(plane: ControlPlane) -> list[str]:
    return [
        f"--bind-address={plane.bind_address}",
        f"--secure-port={plane.port}",
        f"--advertise-address={plane.advertise_address}",
        f"--tls-cert-file={plane.pki.certificate(SERVING)}",
        f"--tls-private-key-file={plane.pki.key(SERVING)}",
        f"--service-cluster-ip-range={plane.service_cidr}",
        "--allow-privileged=true",
        "--enable-aggregator-routing=false",
        "--profiling=false",
    ]


def _authentication(plane: ControlPlane) -> list[str]:
    pki = plane.pki
    return [
        f"--authentication-config={plane.config_dir / 'authentication.json'}",
        f"--client-ca-file={pki.certificate(CLUSTER_CA)}",
        "--enable-bootstrap-token-auth=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--requestheader-client-ca-file={pki.certificate(FRONT_PROXY_CA)}",
        f"--requestheader-allowed-names={FRONT_PROXY_CLIENT}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki.certificate(FRONT_PROXY_CLIENT)}",
        f"--proxy-client-key-file={pki.key(FRONT_PROXY_CLIENT)}",
    ]


def _service_accounts(plane: ControlPlane) -> list[str]:
    return [
        f"--service-account-issuer=https://kubernetes.default.svc.{plane.cluster_domain}",
        f"--service-account-key-file={plane.pki.service_account_public_key}",
        f"--service-account-signing-key-file={plane.pki.key(SERVICE_ACCOUNT)}",
    ]


def _kubelets(plane: ControlPlane) -> list[str]:
    return [
        f"--kubelet-certificate-authority={plane.pki.certificate(CLUSTER_CA)}",
        f"--kubelet-client-certificate={plane.pki.certificate(KUBELET_CLIENT)}",
        f"--kubelet-client-key={plane.pki.key(KUBELET_CLIENT)}",
        # addresses first: the node proxy (stats, metrics) looks names up in DNS, which knows no node
        "--kubelet-preferred-address-types=InternalIP,Hostname",
    ]


def _store(plane: ControlPlane) -> list[str]:
    return [f"--etcd-servers=unix://{plane.kine_socket}"]


def _authentication_configuration() -> dict[str, object]:
    health = ("/livez", "/readyz", "/healthz")
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": True, "conditions": [{"path": path} for path in health]},
    }


def _egress_selector(plane: ControlPlane) -> dict[str, object]:
    # "etcd" must not be named, not even as Direct: that dialer knows TCP only, and kine answers on a unix socket
    # HTTPConnect and not GRPC: bytes pass as they are, where a message each would cost both ends five times the time
    tunnel = {
        "proxyProtocol": "HTTPConnect",
        "transport": {"uds": {"udsName": str(plane.konnectivity_socket)}},
    }
    return {
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [
            {"name": "cluster", "connection": tunnel},
            {"name": "controlplane", "connection": {"proxyProtocol": "Direct"}},
        ],
    }
