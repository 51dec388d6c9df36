"""``autonodes up``: from nothing, or from whatever is there, to a cluster that runs as configured.

Every step may be repeated, so `up` is also the way to go on after a crash, a reboot or an interruption, and the way to
change a configuration. The control plane is restarted only when its own processes change.

The order is made for speed: what the API server needs comes first, and what is heavy to import or to do is left until
the API server starts, or after.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from autonodes.api import autonodes
from autonodes.api.vcluster import VClusterConfig, load, with_provider
from autonodes.cli import compose, planning, ports, state
from autonodes.cli.options import cluster_name
from autonodes.cli.state import Cluster, Record
from autonodes.cli.steps import Steps
from autonodes.cli.supervision import Supervision
from autonodes.core.errors import ConfigError, EnvironmentFault
from syncer.controlplane import apiserver
from syncer.controlplane.preparation import CONTROLLER, prepare
from syncer.controlplane.settings import ControlPlane
from syncer.files import write_atomically

if TYPE_CHECKING:
    from autonodes.cli.bootstrapping import Applier
    from autonodes.components import Components
    from autonodes.kube.client import KubeClient

DEFAULT_PROVIDER: Final = "local"
LEAST_FREE_MB: Final = 200
"""Of the disk with the state: an empty cluster's database and logs take some 30 MB and grow."""
_POLL: Final = 0.1


@click.command()
@click.option(
    "-f",
    "--file",
    "file",
    type=click.Path(path_type=Path),
    help="Configuration (vcluster.yaml); without it, that of the last time, or one pool of the provider.",
)
@cluster_name
@click.option("--provider", help="Where nodes come from if there is no file: local (this machine) or kwok (simulated).")
@click.option(
    "--components",
    "directories",
    metavar="DIR",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Look for components in this directory first; may be repeated.",
)
@click.option("--wait", default=180.0, show_default=True, metavar="SECONDS", help="How long the whole may take.")
def up(file: Path | None, name: str, provider: str | None, directories: tuple[Path, ...], wait: float) -> None:
    """Start a cluster, or bring a running one to what its configuration says.

    Safe to repeat at any time: it goes on where an earlier run, or a crash, has left off.
    """
    cluster = state.cluster(name)
    config = _configuration(cluster, file, provider)
    documents = autonodes.objects(config)
    compose.check_environment(config.providers())
    steps = Steps()
    steps.title(f"cluster {name} in {cluster.directory}")
    run = _Run(cluster, config, directories, steps, deadline=time.monotonic() + wait)
    run.start()
    asyncio.run(run.bootstrap(documents))
    _farewell(cluster, steps)


class _Run:
    """One `up`, in two halves: until the API server is ready, and what is then put into it."""

    def __init__(
        self, cluster: Cluster, config: VClusterConfig, directories: tuple[Path, ...], steps: Steps, *, deadline: float
    ) -> None:
        self._cluster, self._config, self._directories = cluster, config, directories
        self._steps, self._deadline = steps, deadline
        self._components: Components
        self._record: Record
        self._supervision: Supervision

    def start(self) -> None:
        """:raises AutonodesError: it can't run; what was started is stopped again"""
        with self._steps.step("components") as step:
            self._record = planning.choose(self._cluster, self._config, self._directories)
            self._components = _components(self._config, self._record)
            step.said = _described(self._components)
        plane = planning.control_plane(self._cluster, self._config, self._record, _paths(self._components))
        plan = planning.plan(self._cluster, self._config, self._record, plane)
        self._supervision = Supervision(self._cluster, plan)
        running = self._supervision.status() is not None
        _check_disk(self._cluster)
        if not running:
            _check_ports(self._cluster, self._config, self._record)
        with self._steps.step("certificates") as step:
            self._cluster.make_directories()
            self._cluster.remember(self._record)
            issued = prepare(plane, now=datetime.now(UTC))
            step.said = f"{len(issued)} issued" if issued else "all valid"
        write_atomically(self._cluster.config_file, self._config.dump().encode())
        if running and issued:
            self._supervision.stop()  # most components read their certificates at their start only
        started = self._supervision.ensure()
        try:
            self._wait_for_api_server(plane)
        except EnvironmentFault:
            if started:
                self._supervision.stop()
            raise

    async def bootstrap(self, documents: list[dict[str, Any]]) -> None:
        """:raises AutonodesError: the cluster stays as far as it got; another `up` goes on"""
        from autonodes.kube.client import KubeClient

        async with KubeClient.from_kubeconfig(self._cluster.admin_kubeconfig, user_agent="autonodes-up") as client:
            await self._fill(client, documents)

    def _wait_for_api_server(self, plane: ControlPlane) -> None:
        with self._steps.step("datastore") as step:
            self._supervision.wait_for("kine", deadline=self._deadline)
            step.said = f"SQLite, {plane.database}"
        with self._steps.step("API server") as step:
            import autonodes.kube.client  # noqa: F401 -- 0.3 s, while the server starts

            self._supervision.wait_for(apiserver.NAME, deadline=self._deadline)
            step.said = f"ready at {plane.url}"

    async def _fill(self, client: KubeClient, documents: list[dict[str, Any]]) -> None:
        """Custom resources, add-ons, images, then the controller, and the pools last: they are what nodes come from."""
        from autonodes.api.crds import crds
        from autonodes.cli.bootstrapping import Applier

        applier = Applier(client)
        with self._steps.step("custom resources") as step:
            count = await applier.install_crds(crds())
            await applier.apply(compose.control_plane_rights())
            step.said = f"{count} kinds"
        if add_ons := compose.add_ons(self._config, self._record, self._components):
            with self._steps.step("add-ons") as step:
                step.said = f"{await applier.apply(add_ons)} objects"
            with self._steps.step("images") as step:
                archives = await asyncio.to_thread(compose.make_images, self._cluster, self._components)
                step.said = f"{len(archives)}, from the components"
        write_atomically(self._cluster.bootstrapped_file, b"")
        self._supervision.look_at_gates()
        with self._steps.step("node pools") as step:
            await applier.apply(documents)
            gone = await applier.prune_node_pools(documents)
            names = [str(each["metadata"]["name"]) for each in documents if each["kind"] == "NodePool"]
            step.said = ", ".join(names) + (f"; removed {', '.join(gone)}" if gone else "")
        with self._steps.step("controller") as step:
            await self._wait_for_controller(applier)
            step.said = "ready, watching for pods that wait"

    async def _wait_for_controller(self, applier: Applier) -> None:
        await asyncio.to_thread(self._supervision.wait_for, CONTROLLER, deadline=self._deadline)
        while unready := await applier.unready_node_pools():
            self._supervision.check()
            if time.monotonic() > self._deadline:
                name, why = next(iter(unready.items()))
                raise EnvironmentFault(
                    f"node pool {name} is not ready: {why}",
                    f"see `kubectl describe nodepool {name}` and {self._cluster.log_dir / 'controller.log'}",
                )
            await asyncio.sleep(_POLL)
        self._supervision.check()


def _configuration(cluster: Cluster, file: Path | None, provider: str | None) -> VClusterConfig:
    """:raises ConfigError: the file, or a change of what can't be changed"""
    before = load(cluster.config_file) if cluster.config_file.exists() else None
    if file is not None and provider is not None:
        raise ConfigError("--provider", provider, "the file names its providers: give one of --file and --provider")
    if file is None and provider is None and before is not None:
        return before
    config = load(file) if file is not None else with_provider(provider or DEFAULT_PROVIDER)
    if not config.private_nodes.auto_nodes:
        pools = with_provider(DEFAULT_PROVIDER).private_nodes
        config = config.model_copy(update={"private_nodes": pools})
    if before is not None:
        _check_change(before, config, cluster)
    return config


def _check_change(before: VClusterConfig, after: VClusterConfig, cluster: Cluster) -> None:
    old, new = before.networking, after.networking
    for path, was, wanted in (
        ("networking.serviceCIDR", old.service_cidr, new.service_cidr),
        ("networking.podCIDR", old.pod_cidr, new.pod_cidr),
        ("networking.advanced.clusterDomain", old.advanced.cluster_domain, new.advanced.cluster_domain),
    ):
        if was != wanted:
            remedy = f"cluster {cluster.name} was made with {was}, and that can't change: make another cluster"
            raise ConfigError(path, wanted, remedy)
    if missing := set(before.providers()) - set(after.providers()):
        provider = min(missing)
        remedy = f"cluster {cluster.name} has nodes of provider {provider}: keep it, without pools if need be"
        raise ConfigError("privateNodes.autoNodes", list(after.providers()), remedy)


def _components(config: VClusterConfig, record: Record) -> Components:
    """Found, or else fetched with progress on standard error."""
    from autonodes.components import locate, resolve

    names, given = compose.component_names(config), compose.given_directories(record)
    found, missing = locate(names, given=given)
    if not missing:
        return found
    from rich.console import Console

    from autonodes.components.progress import open_progress

    with open_progress(Console(stderr=True)) as progress:
        return resolve(names, given=given, progress=progress)


def _paths(components: Components) -> dict[str, Path]:
    return {name: binary.path for name, binary in components.items()}


def _described(components: Components) -> str:
    kubernetes = components["kube-apiserver"]
    return f"Kubernetes {kubernetes.version}, {len(components)} binaries ({kubernetes.origin})"


def _check_disk(cluster: Cluster) -> None:
    """:raises EnvironmentFault: it is too full to begin"""
    place = next(each for each in (cluster.directory, *cluster.directory.parents) if each.exists())
    free = shutil.disk_usage(place).free >> 20
    if free < LEAST_FREE_MB:
        raise EnvironmentFault(
            f"the disk is full: {free} MiB free for {cluster.directory}, and {LEAST_FREE_MB} are needed",
            "make room, or choose another place with AUTONODES_HOME",
        )


def _check_ports(cluster: Cluster, config: VClusterConfig, record: Record) -> None:
    """Nothing of ours runs, so whoever is there is somebody else."""
    address = config.control_plane.proxy.bind_address
    remedy = "end that process, or choose another port with controlPlane.proxy.port"
    ports.check_free(record.port, address=address, remedy=remedy)
    ports.check_free(record.konnectivity_port, address=address, remedy="end that process")


def _farewell(cluster: Cluster, steps: Steps) -> None:
    named = "" if cluster.name == state.DEFAULT_NAME else f" --name {cluster.name}"
    click.echo(f"==> ready after {steps.elapsed():.1f} s\n")
    click.echo(f"    export KUBECONFIG={cluster.admin_kubeconfig}")
    click.echo(f"    autonodes status{named}")
    click.echo(f"    autonodes down{named}")
