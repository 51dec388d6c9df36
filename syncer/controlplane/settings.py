"""All that the components' command lines depend on, as one value."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from syncer.pki import Pki

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """One cluster's control plane on this machine.

    :param state_dir: the cluster's directory; everything that must survive a reboot is below it
    :param run_dir: for unix sockets, whose paths must stay short (108 characters with the name)
    :param binaries: component name → path
    :param advertise_address: where nodes reach the API server; not a loopback address, need not exist on a link yet
    :param extra_hosts: further names and addresses of the API server's certificate
    :param controller_manager_port: health port on the loopback, 0 to serve none
    :param scheduler_port: as above
    :param pod_topology_spread: JSON of the scheduler's PodTopologySpreadArgs; "" for its own defaults
    :param konnectivity: whether traffic to nodes, pods and services goes through the Konnectivity server's socket
    """

    name: str
    state_dir: Path
    run_dir: Path
    binaries: Mapping[str, Path]
    port: int = 6443
    bind_address: str = "0.0.0.0"  # noqa: S104 -- nodes come in by a link that the provider makes later
    advertise_address: str = "100.64.0.1"
    extra_hosts: tuple[str, ...] = ()
    service_cidr: str = "10.96.0.0/12"
    pod_cidr: str = "10.244.0.0/16"
    node_cidr_mask: int = 24
    cluster_domain: str = "cluster.local"
    controller_manager_port: int = 0
    scheduler_port: int = 0
    pod_topology_spread: str = ""
    konnectivity: bool = True

    @property
    def pki(self) -> Pki:
        return Pki(self.state_dir / "pki")

    @property
    def config_dir(self) -> Path:
        return self.state_dir / "config"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.state_dir / "admin.kubeconfig"

    def kubeconfig(self, user: str) -> Path:
        """Of a component, not of a person."""
        return self.state_dir / "kubeconfigs" / f"{user}.kubeconfig"

    @property
    def database(self) -> Path:
        return self.state_dir / "db" / "state.db"

    @property
    def kine_socket(self) -> Path:
        return self.run_dir / "kine.sock"

    @property
    def konnectivity_socket(self) -> Path:
        """Where the API server dials out, served by the Konnectivity server."""
        return self.run_dir / "konnectivity.sock"

    @property
    def service_ip(self) -> str:
        """Of the Service ``default/kubernetes``: the first address of the range."""
        return str(ipaddress.ip_network(self.service_cidr)[1])

    @property
    def url(self) -> str:
        """For clients on this machine."""
        return f"https://{LOOPBACK}:{self.port}"
