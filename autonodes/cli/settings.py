"""What of a configuration the control plane's start depends on, in a form that costs nothing to read.

The models of vcluster.yaml take 0.3 s to import, a tenth of the whole start. So what they said is remembered in this
form, and a start that brings no new file reads the models only while it can afford to: when the API server is ready.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from autonodes.api.vcluster import VClusterConfig

PROVIDERS: Final = ("local", "kwok", "libvirt")
"""That `autonodes.api.autonodes` can make a node class for."""
DEFAULT_PROVIDER: Final = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The defaults are vcluster.yaml's own.

    :param port: as the file has it, None if the choice is ours
    :param endpoint: under which machines elsewhere reach the API server
    :param pod_topology_spread: JSON of the scheduler's PodTopologySpreadArgs; "" for its own defaults
    :param hosts: further names and addresses of the API server's certificate
    """

    providers: tuple[str, ...]
    bind_address: str = "0.0.0.0"  # noqa: S104 -- nodes come in by a link that the provider makes later
    port: int | None = None
    hosts: tuple[str, ...] = ()
    endpoint: str | None = None
    service_cidr: str = "10.96.0.0/12"
    pod_cidr: str = "10.244.0.0/16"
    cluster_domain: str = "cluster.local"
    pod_topology_spread: str = ""


def settings_of(config: VClusterConfig) -> Settings:
    plane, networking = config.control_plane, config.networking
    return Settings(
        providers=config.providers(),
        bind_address=plane.proxy.bind_address,
        port=plane.proxy.port,
        hosts=(*([plane.endpoint] if plane.endpoint else []), *plane.proxy.extra_sans),
        endpoint=plane.endpoint,
        service_cidr=networking.service_cidr,
        pod_cidr=networking.pod_cidr,
        cluster_domain=networking.advanced.cluster_domain,
        pod_topology_spread=plane.distro.k8s.scheduler.arguments,
    )
