"""What a machine needs to become a node: its files and its two processes, the same on every machine.

The paths are a machine's standard ones, so that one plan serves a namespaced node on this host, a virtual machine and a
cloud instance; a provider that boots from user data renders the same plan into its own form. The plan holds the
bootstrap token: whoever carries it must keep it out of logs and out of world-readable files.

The kubelet dials the API server with the token, asks for a client certificate (KEP-43, TLS bootstrap) and later for a
serving certificate; both rotate. It registers with all of its taints, ``karpenter.sh/unregistered`` among them, so that
nothing lands on it before the controller has seen it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from autonodes.core.model import Taint
from autonodes.provider import BootFile, BootPlan, BootProcess, NodeSettings

PAUSE_IMAGE = "autonodes.io/pause:1"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"

# Labels that NodeRestriction lets a kubelet set on its own node although they lie under kubernetes.io:
# https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
_KUBELET_MAY_SET = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    }
)
_KUBELET_MAY_SET_PREFIXES = ("kubelet.kubernetes.io/", "node.kubernetes.io/")

_CONTAINERD_CONFIG = """\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{pause}"

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "/opt/autonodes/bin/runc"
      SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/opt/cni/bin", "/opt/autonodes/bin"]
    conf_dir = "/etc/cni/net.d"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccess:
    """How any machine reaches the cluster that it joins.

    :param server: ``https://HOST:PORT``, as seen from the machine
    :param ca: the API server's CA, PEM
    :param cluster_dns: the DNS service's address
    """

    server: str
    ca: bytes = field(repr=False)
    cluster_dns: str = "10.96.0.10"
    cluster_domain: str = "cluster.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimBootstrap:
    """How the machine of one claim joins; the `autonodes.provider.Bootstrap` that providers are given."""

    node_name: str
    token: str = field(repr=False)
    access: ClusterAccess
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Taint] = ()

    def boot_plan(self, settings: NodeSettings) -> BootPlan:
        """Files and processes of the machine, at a machine's standard paths."""
        return BootPlan(
            node_name=self.node_name,
            files=(
                BootFile(path="/etc/kubernetes/ca.crt", content=self.access.ca),
                BootFile(path="/etc/kubernetes/bootstrap.kubeconfig", content=self._kubeconfig(), mode=0o600),
                BootFile(path="/etc/kubernetes/kubelet.yaml", content=self._kubelet_config(settings), mode=0o600),
                BootFile(
                    path="/etc/containerd/config.toml",
                    content=_CONTAINERD_CONFIG.format(pause=PAUSE_IMAGE).encode(),
                ),
            ),
            processes=(_containerd(), self._kubelet(settings)),
        )

    def _kubeconfig(self) -> bytes:
        return _yaml(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": "cluster",
                        "cluster": {
                            "server": self.access.server,
                            "certificate-authority": "/etc/kubernetes/ca.crt",
                        },
                    }
                ],
                "users": [{"name": "bootstrap", "user": {"token": self.token}}],
                "contexts": [{"name": "bootstrap", "context": {"cluster": "cluster", "user": "bootstrap"}}],
                "current-context": "bootstrap",
            }
        )

    def _kubelet_config(self, settings: NodeSettings) -> bytes:
        config: dict[str, Any] = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": "/etc/kubernetes/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDNS": [self.access.cluster_dns],
            "clusterDomain": self.access.cluster_domain,
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "rotateCertificates": True,
            "serverTLSBootstrap": True,
            "providerID": settings.provider_id,
            "maxPods": settings.max_pods,
            "registerWithTaints": [_taint(taint) for taint in self.taints],
            "systemReserved": dict(settings.system_reserved),
            "failSwapOn": False,
            # a node shows as Ready, and a vanished one as gone, within seconds
            "nodeStatusUpdateFrequency": "10s",
            "shutdownGracePeriod": "0s",
        }
        if settings.cgroup_root is not None:
            config["cgroupRoot"] = settings.cgroup_root
        return _yaml(config | dict(settings.kubelet))

    def _kubelet(self, settings: NodeSettings) -> BootProcess:
        labels = {**self.labels, **settings.labels}
        argv = [
            "kubelet",
            "--config=/etc/kubernetes/kubelet.yaml",
            "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap.kubeconfig",
            "--kubeconfig=/var/lib/kubelet/kubeconfig",
            "--cert-dir=/var/lib/kubelet/pki",
            "--root-dir=/var/lib/kubelet",
            f"--hostname-override={self.node_name}",
            "--node-labels=" + ",".join(f"{key}={value}" for key, value in sorted(labels.items()) if _may_set(key)),
        ]
        if settings.node_ip is not None:
            argv.append(f"--node-ip={settings.node_ip}")
        return BootProcess(name="kubelet", argv=tuple(argv))


def _containerd() -> BootProcess:
    return BootProcess(
        name="containerd",
        argv=("containerd", "--config=/etc/containerd/config.toml"),
        ready_socket=CONTAINERD_SOCKET,
    )


def _may_set(label: str) -> bool:
    """Whether the kubelet may set it; the controller adds the others when it registers the node."""
    prefix = label.partition("/")[0] if "/" in label else ""
    if not (prefix in ("kubernetes.io", "k8s.io") or prefix.endswith((".kubernetes.io", ".k8s.io"))):
        return True
    return label in _KUBELET_MAY_SET or label.startswith(_KUBELET_MAY_SET_PREFIXES)


def _taint(taint: Taint) -> dict[str, str]:
    return {"key": taint.key, "value": taint.value, "effect": taint.effect}


def _yaml(document: dict[str, Any]) -> bytes:
    return yaml.safe_dump(document, sort_keys=False).encode()
