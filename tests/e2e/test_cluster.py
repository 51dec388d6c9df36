"""The main job on real nodes: pods wait, nodes come; what users do with a cluster works; pods go, nodes go."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cluster import Cluster, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

BUSYBOX = "autonodes.io/busybox:1.35"
PYTHON = "autonodes.io/konnectivity-agent:0.1.0"


def pod(name: str, command: str, *, cpu: str = "100m", **spec: Any) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": BUSYBOX,
        "command": ["/bin/sh", "-c", command],
        "resources": {"requests": {"cpu": cpu, "memory": "32Mi"}},
        **spec.pop("container", {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec},
    }


def running(cluster: Cluster, *names: str, seconds: float = 120) -> None:
    for name in names:
        wait_for(
            f"pod {name} Running",
            lambda name=name: cluster.get("pod", name)["status"].get("phase") == "Running",
            seconds=seconds,
            cluster=cluster,
        )


def node_of(cluster: Cluster, name: str) -> str:
    return str(cluster.get("pod", name)["spec"]["nodeName"])


@pytest.fixture(scope="module")
def two_nodes(cluster: Cluster) -> Iterator[Cluster]:
    """Two pods with the same host port, so each has a node of its own; ``web-1`` serves its name on port 8080."""
    server = 'echo "hello from $(hostname)" > /tmp/index.html; httpd -f -p 8080 -h /tmp'
    ports = {"ports": [{"containerPort": 8080, "hostPort": 18080}]}
    cluster.apply(*(pod(f"web-{n}", server, container=dict(ports)) for n in (1, 2)))
    running(cluster, "web-1", "web-2")
    assert node_of(cluster, "web-1") != node_of(cluster, "web-2")
    yield cluster
    cluster.kubectl("delete", "pod", "web-1", "web-2", "--wait=false", "--ignore-not-found")


def test_a_new_cluster_has_no_nodes_and_kubectl_says_which_version_it_is(cluster: Cluster) -> None:
    assert cluster.nodes() == []
    versions = json.loads(cluster.kubectl("version", "-o", "json"))
    assert versions["serverVersion"]["gitVersion"] == "v1.37.2"
    assert versions["clientVersion"]["gitVersion"] == "v1.37.2"


def test_pods_that_wait_get_nodes_with_their_labels_and_provider_ids(two_nodes: Cluster) -> None:
    node = two_nodes.get("node", node_of(two_nodes, "web-1"))
    claim = two_nodes.get("nodeclaim", node["metadata"]["name"])
    assert node["spec"]["providerID"] == claim["status"]["providerID"]
    assert node["metadata"]["labels"]["karpenter.sh/nodepool"] == "default"
    assert node["metadata"]["labels"]["karpenter.sh/registered"] == "true"
    taints = [taint["key"] for taint in node["spec"].get("taints", [])]
    assert "karpenter.sh/unregistered" not in taints
    wait_for(
        "initialized",
        lambda: two_nodes.get("node", node["metadata"]["name"])["metadata"]["labels"].get("karpenter.sh/initialized"),
        cluster=two_nodes,
    )
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.37.2"


def test_bootstrap_tokens_are_gone_once_their_nodes_have_joined(two_nodes: Cluster) -> None:
    def tokens() -> list[str]:
        secrets = two_nodes.get("secrets", "-n", "kube-system")["items"]
        return [item["metadata"]["name"] for item in secrets if item["type"] == "bootstrap.kubernetes.io/token"]

    wait_for("no token is left", lambda: tokens() == [], cluster=two_nodes)


def test_logs_and_exec_pass_through_the_tunnel(two_nodes: Cluster) -> None:
    two_nodes.apply(pod("talker", "echo spoken; sleep 3600"))
    running(two_nodes, "talker")
    assert "spoken" in wait_for("logs", lambda: two_nodes.kubectl("logs", "talker"), cluster=two_nodes)
    assert two_nodes.kubectl("exec", "talker", "--", "echo", "answered").strip() == "answered"
    assert two_nodes.kubectl("exec", "-i", "talker", "--", "cat", stdin="x" * 100_000) == "x" * 100_000
    two_nodes.kubectl("delete", "pod", "talker")


def test_port_forward_passes_through_the_tunnel(two_nodes: Cluster) -> None:
    forward = subprocess.Popen(
        [two_nodes.kubectl_path, "port-forward", "pod/web-1", ":8080", "--address=127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=two_nodes.environment,
    )
    try:
        assert forward.stdout is not None
        port = int(forward.stdout.readline().partition("127.0.0.1:")[2].split()[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            assert answer.read().decode().strip() == "hello from web-1"
    finally:
        forward.kill()
        forward.communicate()


def test_the_kubelet_s_summary_and_metrics_are_reachable(two_nodes: Cluster) -> None:
    node = node_of(two_nodes, "web-1")
    summary = json.loads(two_nodes.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"))
    assert summary["node"]["nodeName"] == node


def test_pods_on_two_nodes_reach_each_other_by_address_service_and_name(two_nodes: Cluster) -> None:
    two_nodes.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web-1"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }
    )
    address = two_nodes.get("pod", "web-1")["status"]["podIP"]
    service = two_nodes.get("service", "web")["spec"]["clusterIP"]
    for target in (f"{address}:8080", f"{service}:80", "web.default.svc.cluster.local", "web"):
        for client in ("web-2", "web-1"):
            answer = wait_for(
                f"{client} reaches {target}",
                lambda target=target, client=client: two_nodes.kubectl(
                    "exec", client, "--", "wget", "-q", "-O-", f"http://{target}/"
                ),
                cluster=two_nodes,
            )
            assert answer.strip() == "hello from web-1"
    two_nodes.kubectl("delete", "service", "web")


def test_a_volume_keeps_its_data_over_a_restart_of_its_pod(two_nodes: Cluster) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
    }
    mounted = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    two_nodes.apply(
        claim, pod("writer", "echo kept > /data/file; sync; sleep 3600", container=mounted, volumes=volumes)
    )
    running(two_nodes, "writer")
    wait_for("written", lambda: two_nodes.kubectl("exec", "writer", "--", "cat", "/data/file"), cluster=two_nodes)
    two_nodes.kubectl("delete", "pod", "writer")
    two_nodes.apply(pod("reader", "sleep 3600", container=mounted, volumes=volumes))
    running(two_nodes, "reader")
    assert two_nodes.kubectl("exec", "reader", "--", "cat", "/data/file").strip() == "kept"
    two_nodes.kubectl("delete", "pod", "reader")
    two_nodes.kubectl("delete", "pvc", "data")
    wait_for("the volume is removed", lambda: two_nodes.get("pv")["items"] == [], cluster=two_nodes)


WEBHOOK = """
import http.server, json, ssl
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"uid": review["request"]["uid"], "allowed": False, "status": {"message": "the pod said no"}}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/hook/tls.crt", "/hook/tls.key")
server = http.server.ThreadingHTTPServer(("", 8443), Hook)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def _certificate(host: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def test_an_admission_webhook_in_a_pod_is_asked(two_nodes: Cluster) -> None:
    certificate, key = _certificate("hook.default.svc")
    files = {"hook.py": WEBHOOK, "tls.crt": certificate.decode(), "tls.key": key.decode()}
    two_nodes.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "hook", "namespace": "default"},
            "stringData": files,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "hook", "namespace": "default"},
            "spec": {"selector": {"app": "hook"}, "ports": [{"port": 443, "targetPort": 8443}]},
        },
        pod(
            "hook",
            "",
            container={
                "image": PYTHON,
                "command": ["/usr/bin/python3", "/hook/hook.py"],
                "volumeMounts": [{"name": "hook", "mountPath": "/hook"}],
                "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
            },
            volumes=[{"name": "hook", "secret": {"secretName": "hook"}}],
        ),
    )
    wait_for(
        "the webhook's pod is ready",
        lambda: two_nodes.get("pod", "hook")["status"].get("containerStatuses", [{}])[0].get("ready"),
        cluster=two_nodes,
    )
    two_nodes.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "hook"},
            "webhooks": [
                {
                    "name": "hook.example.com",
                    "admissionReviewVersions": ["v1"],
                    "sideEffects": "None",
                    "failurePolicy": "Fail",
                    "rules": [
                        {
                            "apiGroups": [""],
                            "apiVersions": ["v1"],
                            "operations": ["CREATE"],
                            "resources": ["configmaps"],
                        }
                    ],
                    "objectSelector": {"matchLabels": {"ask": "hook"}},
                    "clientConfig": {
                        "service": {"name": "hook", "namespace": "default", "port": 443},
                        "caBundle": base64.b64encode(certificate).decode(),
                    },
                }
            ],
        }
    )
    asked = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "asked", "namespace": "default", "labels": {"ask": "hook"}},
    }
    try:

        def refused() -> bool:
            with pytest.raises(AssertionError) as refusal:
                two_nodes.apply(asked)
            assert "the pod said no" in str(refusal.value)
            return True

        wait_for("the webhook is asked", refused, cluster=two_nodes)
    finally:
        two_nodes.kubectl("delete", "validatingwebhookconfiguration", "hook")
    two_nodes.kubectl("delete", "pod/hook", "service/hook", "secret/hook")


def test_deleting_a_node_drains_it_and_a_disruption_budget_is_honoured(cluster: Cluster) -> None:
    cluster.apply(
        pod("guarded", "sleep 3600"),
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "guard", "namespace": "default"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}},
        },
    )
    running(cluster, "guarded")
    node = node_of(cluster, "guarded")
    wait_for(
        "the budget counts the pod",
        lambda: cluster.get("pdb", "guard")["status"]["currentHealthy"] == 1,
        cluster=cluster,
    )
    cluster.kubectl("delete", "node", node, "--wait=false")
    wait_for(
        "the node is cordoned by its taint",
        lambda: "karpenter.sh/disrupted" in [t["key"] for t in cluster.get("node", node)["spec"].get("taints", [])],
        cluster=cluster,
    )
    held = cluster.get("pod", "guarded")
    assert held["status"]["phase"] == "Running"
    assert "deletionTimestamp" not in held["metadata"]
    cluster.kubectl("delete", "pdb", "guard")
    wait_for("the node is gone", lambda: node not in cluster.nodes(), cluster=cluster)
    wait_for("its claim is gone", lambda: node not in cluster.names("nodeclaims"), cluster=cluster)


def test_scaled_to_zero_the_nodes_go(cluster: Cluster) -> None:
    cluster.kubectl("delete", "pods", "--all", "-n", "default", "--wait=false")
    wait_for("no nodes", lambda: cluster.nodes() == [], seconds=180, cluster=cluster)
    wait_for("no claims", lambda: cluster.names("nodeclaims") == [], cluster=cluster)
