"""The real kwok as a process beside the control plane: it plays the kubelet of every simulated node.

It takes the nodes with the annotation ``kwok.x-k8s.io/node: fake`` and no others, renews their leases, and moves nodes
and pods through the stages in ``stages.yaml``. What it must never do is touch a real node or its pods.

Limits: pods run as soon as they are bound and never fail; logs, exec and probes have nobody to answer them. When kwok
is restarted, its nodes stay as they are until the leases of its predecessor have run out (:data:`LEASE`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from providers.kwok.nodes import FAKE_ANNOTATION

BINARY: Final = "kwok"
STAGES: Final = Path(__file__).with_name("stages.yaml")
LEASE: Final = 40
"""Seconds, as the kubelet's own node lease; kwok renews it after a quarter of that."""


def kwok_command(
    kubeconfig: Path,
    *,
    binary: Path | str = BINARY,
    pod_cidr: str = "10.244.0.0/16",
    server_address: str = "",
) -> list[str]:
    """The arguments of the process, the binary first.

    :param kubeconfig: of a user that may read and write nodes, pods, their status, and leases in kube-node-lease
    :param pod_cidr: for the addresses of pods on nodes to which the control plane gives no range of their own
    :param server_address: ``host:port`` to answer ``/healthz`` on; "" for none
    """
    command = [
        str(binary),
        f"--kubeconfig={kubeconfig}",
        f"--config={STAGES}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={FAKE_ANNOTATION}=fake",
        f"--node-lease-duration-seconds={LEASE}",
        f"--cidr={pod_cidr}",
        "--v=WARN",  # at INFO it writes a line for each change of each pod
    ]
    return command + ([f"--server-address={server_address}"] if server_address else [])
