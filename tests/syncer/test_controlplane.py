"""The command lines are understood by the real components."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controlplane import RunningControlPlane, control_plane

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    directory: Path = tmp_path_factory.mktemp("cluster")
    with control_plane(directory, controller_manager=True, with_scheduler=True) as running:
        yield running


def test_the_api_server_reports_the_pinned_version(cluster: RunningControlPlane) -> None:
    version = json.loads(cluster.kubectl("version", "-o", "json"))
    assert version["serverVersion"]["gitVersion"] == version["clientVersion"]["gitVersion"]


def test_the_controller_may_do_its_work_and_no_more(cluster: RunningControlPlane) -> None:
    def may(*request: str) -> bool:
        user = f"--kubeconfig={cluster.kubeconfig_of('controller')}"
        try:
            return cluster.kubectl("auth", "can-i", *request, user).strip() == "yes"
        except AssertionError:
            return False

    assert may("list", "pods", "--all-namespaces")
    assert may("create", "pods", "--subresource=eviction")
    assert may("patch", "nodes")
    assert not may("create", "pods")
    assert not may("create", "clusterrolebindings.rbac.authorization.k8s.io")
    assert not may("impersonate", "users")


def test_only_health_is_shown_to_the_anonymous(cluster: RunningControlPlane) -> None:
    def status(path: str) -> int:
        context = ssl.create_default_context(cafile=cluster.plane.pki.certificate("ca"))
        try:
            with urllib.request.urlopen(cluster.url + path, context=context) as answer:  # noqa: S310 -- https
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert [status(path) for path in ("/readyz", "/livez", "/version", "/api")] == [200, 200, 401, 401]


def test_the_controller_manager_signs_certificates_but_approves_none(cluster: RunningControlPlane) -> None:
    for name in ("left-alone", "approved"):
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(_node_client_request(name)))
    cluster.kubectl("certificate", "approve", "approved")
    cluster.kubectl("wait", "--for=jsonpath={.status.certificate}", "csr/approved", "--timeout=30s")
    assert json.loads(cluster.kubectl("get", "csr", "left-alone", "-o", "json"))["status"] == {}


def _node_client_request(name: str) -> dict[str, Any]:
    """What the controller manager's own approver would say yes to, for it comes from an administrator."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{name}"),
        ]
    )
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "usages": ["digital signature", "client auth"],
        },
    }
