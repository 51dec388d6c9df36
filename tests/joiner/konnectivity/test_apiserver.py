"""The real kube-apiserver is the client, and reviews a real agent's token; both protocols of its egress selector.

Node and kubelet are played: a Node object, a pod that claims to run there, and a TLS server that answers what a kubelet
is asked for. The agent is bound to that pod by its token.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from controlplane import RunningControlPlane, control_plane
from joiner.konnectivity.agent import Agent, AgentSettings
from joiner.konnectivity.dialing import NodeDialer
from joiner.konnectivity.server import KonnectivityServer, ServerSettings
from konnectivity import Pki, cancelled, until
from syncer.controlplane import apiserver
from syncer.pki import CLUSTER_CA

pytestmark = pytest.mark.integration

NODE = "localhost"
"""The node's name: one for which the control plane's certificate that the played kubelet borrows is good."""
BIG = 50_000_000
PROTOCOLS = ("GRPC", "HTTPConnect")


class Kubelet(BaseHTTPRequestHandler):
    """Answers for logs, and as an admission webhook."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = BIG if self.path.endswith("/big") else 5
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for start in range(0, size, 1 << 20):
            self.wfile.write((b"hello" * (1 << 18))[: min(1 << 20, size - start)])

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        response = {"uid": review["request"]["uid"], "allowed": False, "status": {"message": "seen by the webhook"}}
        answer = json.dumps({**review, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module", params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cluster(protocol: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    """An API server with that protocol, a Node, and pods of that Node."""
    selector = apiserver._egress_selector

    def with_protocol(plane: Any) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(json.dumps(selector(plane)))
        config["egressSelections"][0]["connection"]["proxyProtocol"] = protocol
        return config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apiserver, "_egress_selector", with_protocol)
        with control_plane(tmp_path_factory.mktemp(protocol), konnectivity=True) as running:
            create(running, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
            for namespace, account in (("kube-system", "konnectivity-agent"), ("default", "default")):
                metadata = {"name": account, "namespace": namespace}
                create(running, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
                create(running, pod(account, namespace, account))
            yield running


@pytest.fixture(scope="module")
def kubelet(cluster: RunningControlPlane) -> Iterator[int]:
    """The port of a TLS server; the Node's status names it."""
    pki = cluster.plane.pki
    with https_server(pki.certificate(apiserver.SERVING), pki.key(apiserver.SERVING)) as port:
        status = {
            "addresses": [{"type": "Hostname", "address": NODE}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        cluster.kubectl("patch", "node", NODE, "--subresource=status", "-p", json.dumps({"status": status}))
        yield port


@contextlib.contextmanager
def https_server(certificate: Path, key: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Kubelet)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
async def server(cluster: RunningControlPlane, protocol: str) -> AsyncIterator[KonnectivityServer]:
    """A server on the API server's socket, with the user that the control plane has for it."""
    plane = cluster.plane
    sockets = {"uds" if protocol == "GRPC" else "http_connect_uds": plane.konnectivity_socket}
    settings = ServerSettings(
        certificate=plane.pki.certificate("konnectivity-serving"),
        key=plane.pki.key("konnectivity-serving"),
        bind_address="127.0.0.1",
        agent_port=0,
        kubeconfig=cluster.kubeconfig_of("konnectivity-server"),
        **sockets,
    )
    made = KonnectivityServer(settings)
    running = asyncio.create_task(made.run())
    await made.ready.wait()
    await until(plane.konnectivity_socket.exists)
    yield made
    await cancelled(running)


@contextlib.asynccontextmanager
async def agent(
    server: KonnectivityServer, cluster: RunningControlPlane, directory: Path, **changes: Any
) -> AsyncIterator[Agent]:
    token = directory / "token"
    token.write_text(await asyncio.to_thread(token_of_pod, cluster, "konnectivity-agent", "kube-system"))
    settings = AgentSettings(
        servers=(f"127.0.0.1:{server.agent_port}",),
        node_name=NODE,
        ca=cluster.plane.pki.certificate(CLUSTER_CA),
        token_file=token,
    )
    made = Agent(dataclasses.replace(settings, **changes), sleep=lambda seconds: asyncio.sleep(seconds / 10))
    running = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        await cancelled(running)


async def test_logs_come_through_the_nodes_agent(
    cluster: RunningControlPlane, kubelet: int, server: KonnectivityServer, tmp_path: Path
) -> None:
    async with agent(server, cluster, tmp_path):
        await until(lambda: len(server.agents) == 1)
        assert await asyncio.to_thread(cluster.kubectl, "logs", "default", "-c", "small") == "hello"
        assert len(await asyncio.to_thread(cluster.kubectl, "logs", "default", "-c", "big")) == BIG


async def test_without_the_nodes_agent_the_user_is_told(
    cluster: RunningControlPlane, kubelet: int, server: KonnectivityServer
) -> None:
    with pytest.raises(AssertionError, match="node 'localhost' has no konnectivity agent connected"):
        await asyncio.to_thread(cluster.kubectl, "logs", "default", "-c", "small")


async def test_a_webhook_is_called_through_any_agent(
    cluster: RunningControlPlane, server: KonnectivityServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Service's address leads nowhere here, so the agent is told where its pod listens."""
    pki = Pki(tmp_path)
    dialed: list[str] = []
    with https_server(*pki.issue("hook", host="hook.default.svc")) as port:

        async def to_the_pod(address: str) -> socket.socket:
            dialed.append(address)
            return await NodeDialer(NODE)(f"127.0.0.1:{port}")

        async with agent(server, cluster, tmp_path) as made:
            await until(lambda: made.ready)
            monkeypatch.setattr(next(iter(made.links.values())), "_dial", to_the_pod)
            await asyncio.to_thread(create_webhook, cluster, pki.ca)
            try:
                with pytest.raises(AssertionError, match="seen by the webhook"):
                    await asyncio.to_thread(create_config_maps, cluster)
            finally:
                await asyncio.to_thread(cluster.kubectl, "delete", "validatingwebhookconfiguration", "hook")
    address = await asyncio.to_thread(
        cluster.kubectl, "get", "service", "hook", "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"
    )
    assert set(dialed) == {address}


async def test_a_token_of_another_account_is_refused_by_the_api_servers_review(
    cluster: RunningControlPlane,
    kubelet: int,
    server: KonnectivityServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = tmp_path / "other"
    other.write_text(await asyncio.to_thread(token_of_pod, cluster, "default", "default"))
    async with agent(server, cluster, tmp_path, token_file=other):
        await until(lambda: "system:serviceaccount:default:default" in caplog.text)
    assert len(server.agents) == 0


async def test_a_token_for_another_audience_is_refused_by_the_api_servers_review(
    cluster: RunningControlPlane,
    kubelet: int,
    server: KonnectivityServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = tmp_path / "other"
    token = await asyncio.to_thread(cluster.kubectl, "create", "token", "konnectivity-agent", "-n", "kube-system")
    other.write_text(token)
    async with agent(server, cluster, tmp_path, token_file=other):
        await until(lambda: "does not know the token" in caplog.text)
    assert len(server.agents) == 0


async def test_a_token_of_the_node_makes_no_agent_of_another(
    cluster: RunningControlPlane,
    kubelet: int,
    server: KonnectivityServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with agent(server, cluster, tmp_path, node_name="node-2"):
        await until(lambda: "can't stand for node 'node-2'" in caplog.text)
    assert len(server.agents) == 0


def create(cluster: RunningControlPlane, body: dict[str, Any]) -> None:
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(body))


def pod(name: str, namespace: str, account: str) -> dict[str, Any]:
    """On the node already, so that no scheduler is needed."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nodeName": NODE,
            "serviceAccountName": account,
            "automountServiceAccountToken": False,
            "containers": [{"name": container, "image": "none"} for container in ("small", "big")],
        },
    }


def token_of_pod(cluster: RunningControlPlane, name: str, namespace: str) -> str:
    """As a projected volume would hold it."""
    uid = cluster.kubectl("get", "pod", name, "-n", namespace, "-o", "jsonpath={.metadata.uid}")
    bound = (f"--bound-object-name={name}", f"--bound-object-uid={uid}", "--bound-object-kind=Pod")
    audience = "--audience=system:konnectivity-server"
    return cluster.kubectl("create", "token", name, "-n", namespace, audience, *bound)


def create_webhook(cluster: RunningControlPlane, ca: Path) -> None:
    """For ConfigMaps, behind a Service without endpoints."""
    cluster.kubectl("create", "service", "clusterip", "hook", "--tcp=443:443")
    authority = base64.b64encode(ca.read_bytes()).decode()
    service = {"namespace": "default", "name": "hook", "port": 443, "path": "/admit"}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    webhook = {
        "name": "hook.example.com",
        "clientConfig": {"caBundle": authority, "service": service},
        "rules": [rule],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
    }
    api_version, kind = "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"
    create(cluster, {"apiVersion": api_version, "kind": kind, "metadata": {"name": "hook"}, "webhooks": [webhook]})


def create_config_maps(cluster: RunningControlPlane) -> None:
    """One after another, until the webhook is in force and refuses."""
    for number in range(200):
        cluster.kubectl("create", "configmap", f"c{number}", "--from-literal=a=b")
