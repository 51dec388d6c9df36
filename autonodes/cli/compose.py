"""The composition root: the only place that knows the providers, the joiner and the control plane at once.

Everything heavy is imported where it is used, for `up` must have the API server started before it can afford that.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from autonodes.cli import decisions, uplinks
from autonodes.cli.settings import Settings
from autonodes.cli.state import Cluster, Record
from autonodes.core.errors import EnvironmentFault
from syncer.controlplane.settings import ControlPlane
from syncer.files import write_atomically

if TYPE_CHECKING:
    from autonodes.api.vcluster import VClusterConfig
    from autonodes.components import Components
    from autonodes.controllers.settings import ControllerSettings
    from autonodes.kube.client import KubeClient
    from autonodes.provider import Provider

ENTRY_POINTS: Final = "autonodes.providers"
REAL: Final = frozenset({"local", "libvirt", "metal", "aws"})
"""Providers whose nodes run pods: they need every component and the add-ons, and root to make them."""


def check_environment(providers: Collection[str]) -> None:
    """Before anything is started.

    :raises EnvironmentFault: a provider can't work as this user
    """
    if (real := sorted(REAL & set(providers))) and os.geteuid() != 0:
        raise EnvironmentFault(
            f"the {real[0]} provider needs root: for the nodes' namespaces and networks, and to make their images",
            "run `sudo autonodes up`, or take simulated nodes with `autonodes up --provider kwok`",
        )


def component_names(settings: Settings) -> tuple[str, ...] | None:
    """Binaries and components that this cluster needs; None for all of them."""
    if REAL & set(settings.providers):
        return None
    return (*("kine", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"), "kwok")


def make_images(cluster: Cluster, components: Components) -> tuple[Path, ...]:
    """The archives that every real node holds: made once for a set of components, kept in the cache.

    Finding out which they are takes seconds, so the cluster remembers it for its controller.
    """
    from autonodes.components import default_cache
    from joiner import images

    binaries = {name: binary.path for name, binary in components.items()}
    archives = images.make_images(binaries, versions(components), default_cache(os.environ) / "images")
    write_atomically(cluster.images_file, json.dumps([str(archive) for archive in archives]).encode())
    return archives


def _remembered_images(cluster: Cluster, components: Components) -> tuple[Path, ...]:
    try:
        archives = tuple(Path(each) for each in json.loads(cluster.images_file.read_bytes()))
    except (FileNotFoundError, ValueError):
        archives = ()
    if archives and all(archive.exists() for archive in archives):
        return archives
    return make_images(cluster, components)


def make_machine_image(cluster: Cluster, components: Components, archives: tuple[Path, ...]) -> Path | None:
    """The image that virtual machines boot from, with the archives in it; None if no provider needs it.

    Made once for a set of components and a kernel, kept in the cache; the cluster remembers which it is, so that its
    nodes are replaced when `up` says so and not when a controller finds a newer kernel.
    """
    from autonodes.components import default_cache
    from joiner.machineimage import distribution_kernel, machine_image
    from providers.local.images import ImageStore
    from providers.local.provider import BINARIES

    record = cluster.record()
    if record is None or not _boots_images(record.settings):
        return None
    cache = default_cache(os.environ) / "machine-images"
    binaries = {name: components[name].path for name in BINARIES}
    store = ImageStore(
        cache / "containerd", archives=archives, binaries={name: str(path) for name, path in binaries.items()}
    )
    kernel = distribution_kernel(cache / "kernels")
    made = machine_image(binaries, archives, kernel, cache / "images", unpack=store.unpacked).directory
    write_atomically(cluster.machine_image_file, str(made).encode())
    return made


def _remembered_machine_image(cluster: Cluster, components: Components, archives: tuple[Path, ...]) -> Path | None:
    try:
        made = Path(cluster.machine_image_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return make_machine_image(cluster, components, archives)
    return made if made.exists() else make_machine_image(cluster, components, archives)


def _boots_images(settings: Settings) -> bool:
    return "libvirt" in settings.providers


def versions(components: Components) -> dict[str, str]:
    return {binary.component: binary.version for binary in components.values()}


def server_for_nodes(record: Record) -> str:
    return f"https://{host_for_nodes(record)}:{record.port}"


def host_for_nodes(record: Record) -> str:
    """Nodes on this host reach it under the uplink's address; nodes elsewhere need one that leads here."""
    settings = record.settings
    if settings.endpoint is not None and "local" not in settings.providers:
        return settings.endpoint
    return uplinks.host_address(record.uplink)


def add_ons(record: Record, components: Components) -> list[dict[str, Any]]:
    """None of them for simulated nodes: nothing would run."""
    settings = record.settings
    if not REAL & set(settings.providers):
        return []
    from joiner.addons import AddonSettings, manifests
    from joiner.images import image_references

    addon_settings = AddonSettings(
        server=server_for_nodes(record),
        konnectivity_server=f"{host_for_nodes(record)}:{record.konnectivity_port}",
        images=image_references(versions(components)),
        pod_cidr=settings.pod_cidr,
        cluster_dns=dns_address(settings),
        cluster_domain=settings.cluster_domain,
    )
    return manifests(addon_settings)


def device_plugin(settings: Settings, config: VClusterConfig) -> list[dict[str, Any]]:
    """Of those that ask for it, and have nodes that run pods."""
    from joiner.addons.nvidia import device_plugin

    return device_plugin(config.deploy.nvidia_device_plugin) if REAL & set(settings.providers) else []


def device_plugin_marks() -> tuple[Mapping[str, str], str]:
    """Labels and namespace of its objects."""
    from joiner.addons import nvidia

    return nvidia.LABELS, nvidia.NAMESPACE


def dns_address(settings: Settings) -> str:
    """By convention the tenth address of the services' range."""
    return str(ipaddress.ip_network(settings.service_cidr)[10])


def control_plane_rights() -> list[dict[str, Any]]:
    from syncer.controlplane import rbac

    return rbac.manifests()


@asynccontextmanager
async def open_providers(
    cluster: Cluster,
    config: VClusterConfig,
    record: Record,
    client: KubeClient,
    *,
    components: Components,
    archives: tuple[Path, ...] = (),
    machine_image: Path | None = None,
) -> AsyncIterator[Mapping[str, Provider]]:
    """By the kind of their node class, not started yet; closed at the end.

    :param archives: images for their nodes; who buys none needs none
    :param machine_image: what virtual machines boot from; likewise

    :raises EnvironmentFault: one is not installed
    """
    from autonodes.api import autonodes
    from autonodes.provider import ProviderContext

    directories = tuple(dict.fromkeys(binary.path.parent for binary in components.values()))
    async with AsyncExitStack() as stack:
        opened: dict[str, Provider] = {}
        for each in config.private_nodes.auto_nodes:
            context = ProviderContext(
                cluster=cluster.name,
                state_dir=cluster.directory,
                component_dirs=directories,
                images=archives,
                uplink=record.uplink,
                kube=client,
                machine_image=machine_image,
                options=autonodes.options(each),
            )
            provider = _provider_class(each.provider)(context)
            stack.push_async_callback(provider.close)
            opened[provider.node_class_kind] = provider
        yield opened


def _provider_class(name: str) -> Any:
    from importlib.metadata import entry_points

    found = [each for each in entry_points(group=ENTRY_POINTS) if each.name == name]
    if not found:
        known = sorted(each.name for each in entry_points(group=ENTRY_POINTS))
        raise EnvironmentFault(f"no provider {name} is installed", f"installed are {', '.join(known) or 'none'}")
    return found[0].load()


async def run_controller(cluster: Cluster) -> None:
    """The controller of one cluster, until SIGTERM.

    :raises EnvironmentFault: a provider can't work here
    """
    from autonodes.api.vcluster import load
    from autonodes.cli.memory import settle
    from autonodes.components import resolve
    from autonodes.controllers.clock import SystemClock
    from autonodes.controllers.program import ControllerContext, run
    from autonodes.kube.client import KubeClient
    from autonodes.kube.kubeconfig import load_kubeconfig
    from joiner.bootstrap import ClusterAccess
    from joiner.claims import ClaimJoiner
    from joiner.csr import CertificateApprover
    from joiner.tokens import BootstrapTokens
    from syncer.controlplane.preparation import CONTROLLER
    from syncer.pki import CLUSTER_CA

    config, record = load(cluster.config_file), cluster.record()
    if record is None:
        raise EnvironmentFault(f"{cluster.record_file} is missing", f"run `autonodes up --name {cluster.name}`")
    components = resolve(component_names(record.settings), given=given_directories(record))
    archives = _remembered_images(cluster, components) if REAL & set(record.settings.providers) else ()
    image = _remembered_machine_image(cluster, components, archives) if _boots_images(record.settings) else None
    plane = ControlPlane(name=cluster.name, state_dir=cluster.directory, run_dir=cluster.run_dir, binaries={})
    credentials = load_kubeconfig(plane.kubeconfig(CONTROLLER))
    clock = SystemClock()
    async with (
        KubeClient(credentials, user_agent="autonodes-controller") as client,
        open_providers(
            cluster, config, record, client, components=components, archives=archives, machine_image=image
        ) as providers,
    ):
        for provider in providers.values():
            await provider.start()
        tokens = BootstrapTokens(client, clock)
        access = ClusterAccess(
            server=server_for_nodes(record),
            ca=plane.pki.certificate(CLUSTER_CA).read_bytes(),
            cluster_dns=dns_address(record.settings),
            cluster_domain=record.settings.cluster_domain,
        )
        approver = CertificateApprover(client, clock, tokens=tokens, addresses=_Addresses(providers.values()))
        with decisions.writer(cluster.decisions_file) as decided:
            await run(
                ControllerContext(
                    credentials=credentials,
                    client=client,
                    providers=providers,
                    joiner=ClaimJoiner(tokens, access),
                    extra=(approver.run, partial(settle, clock)),
                    decided=decided,
                    clock=clock,
                    settings=controller_settings(config),
                )
            )


def controller_settings(config: VClusterConfig) -> ControllerSettings:
    """What the configuration says of them."""
    from autonodes.controllers.settings import ControllerSettings

    nodes = config.private_nodes
    return ControllerSettings(
        limits=config.limits(),
        metrics_port=nodes.metrics_port or 0,
        preference_policy=nodes.preference_policy,
        min_values_policy=nodes.min_values_policy,
        default_spread=config.control_plane.distro.k8s.scheduler.pod_topology_spread.to_model(),
    )


def installed(record: Record) -> Components:
    """The components that are there, without fetching any."""
    from autonodes.components import locate

    return locate(component_names(record.settings), given=given_directories(record))[0]


def given_directories(record: Record) -> Sequence[Path] | None:
    """None leaves it to the environment (AUTONODES_COMPONENTS)."""
    return tuple(Path(directory) for directory in record.components) or None


class _Addresses:
    """Asks the providers for the addresses of a node's machine; a node is called like its claim."""

    def __init__(self, providers: Collection[Provider]) -> None:
        self._providers = tuple(providers)

    async def __call__(self, node_name: str) -> Collection[str] | None:
        for provider in self._providers:
            for machine in await provider.list():
                if machine.claim_name == node_name:
                    return machine.addresses
        return None
