"""``autonodes up``: from nothing, or from whatever is there, to a cluster that runs as configured.

Every step may be repeated, so `up` is also the way to go on after a crash, a reboot or an interruption, and the way to
change a configuration. The control plane is restarted only when its own processes change.

The order is made for speed: what the API server needs comes first, and what is heavy to import or to do is left until
the API server starts, or after.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from autonodes.cli import compose, planning, ports, state
from autonodes.cli.locking import locked
from autonodes.cli.options import cluster_name
from autonodes.cli.state import Cluster, Record
from autonodes.cli.steps import Steps
from autonodes.cli.supervision import Supervision
from autonodes.cli.wanted import Wanted, digest, wanted
from autonodes.core.errors import EnvironmentFault
from syncer.controlplane import apiserver
from syncer.controlplane.preparation import CONTROLLER, prepare
from syncer.controlplane.settings import ControlPlane
from syncer.files import write_durably

if TYPE_CHECKING:
    from autonodes.api.vcluster import VClusterConfig
    from autonodes.cli.bootstrapping import Applier
    from autonodes.components import Components

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
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Serve the controller's Prometheus metrics there, on this machine only (privateNodes.metricsPort).",
)
@click.option("--wait", default=180.0, show_default=True, metavar="SECONDS", help="Time limit, components aside.")
def up(
    file: Path | None,
    name: str,
    provider: str | None,
    directories: tuple[Path, ...],
    metrics_port: int | None,
    wait: float,
) -> None:
    """Start a cluster, or bring a running one to what its configuration says.

    Safe to repeat at any time: it goes on where an earlier run, or a crash, has left off.
    """
    cluster = state.cluster(name)
    request = wanted(cluster, file=file, provider=provider, metrics_port=metrics_port)
    compose.check_environment(request.settings.providers)
    steps = Steps()
    steps.title(f"cluster {name} in {cluster.directory}")
    with locked(cluster):
        run = _Run(cluster, request, steps, wait=wait)
        run.start(directories)
        run.fill()
    _farewell(cluster, steps)


class _Run:
    """One `up`, in two halves: until the API server is ready, and what is then put into it."""

    def __init__(self, cluster: Cluster, request: Wanted, steps: Steps, *, wait: float) -> None:
        self._cluster, self._request = cluster, request
        self._steps, self._wait = steps, wait
        self._deadline: float
        self._components: Components
        self._record: Record
        self._supervision: Supervision

    def start(self, directories: tuple[Path, ...]) -> None:
        """:raises AutonodesError: it can't run; what was started is stopped again"""
        with self._steps.step("components") as step:
            self._record = planning.choose(self._cluster, self._request.settings, directories)
            self._components = _components(self._record)
            step.said = _described(self._components)
        self._deadline = time.monotonic() + self._wait  # strictly after: building components takes many minutes
        paths = {name: binary.path for name, binary in self._components.items()}
        plane = planning.control_plane(self._cluster, self._record, paths)
        self._supervision = Supervision(self._cluster, planning.plan(self._cluster, self._record, plane))
        running = self._supervision.status() is not None
        _check_disk(self._cluster)
        if not running:
            _check_ports(self._record)
        with self._steps.step("certificates") as step:
            self._cluster.make_directories()
            self._cluster.remember(self._record)
            issued = prepare(plane, now=datetime.now(UTC))
            step.said = f"{len(issued)} issued" if issued else "all valid"
        if running and issued:
            self._supervision.stop()  # most components read their certificates at their start only
        started = self._supervision.ensure()
        try:
            self._wait_for_api_server(plane)
        except EnvironmentFault:
            if started:
                self._supervision.stop()
            raise

    def fill(self) -> None:
        """:raises AutonodesError: the cluster stays as far as it got; another `up` goes on"""
        import asyncio

        asyncio.run(self._fill())

    def _wait_for_api_server(self, plane: ControlPlane) -> None:
        with self._steps.step("datastore") as step:
            self._supervision.wait_for("kine", deadline=self._deadline)
            step.said = f"SQLite, {plane.database}"
        with self._steps.step("API server") as step:
            self._supervision.wait_for(apiserver.NAME, deadline=self._deadline)
            step.said = f"ready at {plane.url}"

    async def _fill(self) -> None:
        """Custom resources, add-ons, images, then the controller, and the pools last: they are what nodes come from."""
        from autonodes.cli.bootstrapping import Applier
        from autonodes.kube.client import KubeClient

        async with KubeClient.from_kubeconfig(self._cluster.admin_kubeconfig, user_agent="autonodes-up") as client:
            applier = Applier(client)
            await self._install(applier)
            await self._start_controller(applier)

    async def _install(self, applier: Applier) -> None:
        import asyncio

        from autonodes.api.crds import crds, other_crds

        add_ons = compose.add_ons(self._record, self._components)
        images = asyncio.create_task(asyncio.to_thread(self._make_images)) if add_ons else None
        with self._steps.step("custom resources") as step:
            count = await applier.install_crds(crds(self._record.settings.providers))
            count += await applier.install_missing_crds(other_crds())
            await applier.apply(compose.control_plane_rights())
            step.said = f"{count} kinds"
        if images is not None:
            with self._steps.step("add-ons") as step:
                optional = compose.device_plugin(self._record.settings, self._request.config())
                step.said = f"{await applier.apply([*add_ons, *optional])} objects"
                await applier.prune_add_on(*compose.device_plugin_marks(), optional)
            with self._steps.step("images") as step:
                step.said = f"{await images}, from the components"

    def _make_images(self) -> int:
        archives = compose.make_images(self._cluster, self._components)
        compose.make_machine_image(self._cluster, self._components, archives)
        return len(archives)

    async def _start_controller(self, applier: Applier) -> None:
        from autonodes.api import autonodes

        config = self._request.config()
        self._remember_config(config)
        documents = autonodes.objects(config)
        with self._steps.step("node pools") as step:
            await applier.apply(documents)
            gone = await applier.prune_node_pools(documents)
            names = [str(each["metadata"]["name"]) for each in documents if each["kind"] == "NodePool"]
            step.said = ", ".join(names) + (f"; removed {', '.join(gone)}" if gone else "")
        with self._steps.step("controller") as step:
            waiting = await self._wait_for_controller(applier, _complete(documents))
            step.said = "; ".join(
                ["ready, watching for pods that wait"]
                + [f"node pool {name} is not ready: {why}" for name, why in waiting.items()]
            )

    def _remember_config(self, config: VClusterConfig) -> None:
        """Opens the controller's gate; a controller that runs is started anew when what it is started with changed."""
        content = config.dump().encode()
        changed = digest(content) != self._record.config_digest
        if changed and self._cluster.bootstrapped_file.exists() and self._options_changed(config):
            self._supervision.close_gate(CONTROLLER)
        write_durably(self._cluster.config_file, content)
        self._cluster.remember(replace(self._record, config_digest=digest(content)))
        self._supervision.open_gate()

    def _options_changed(self, config: VClusterConfig) -> bool:
        from autonodes.api.vcluster import load

        return _started_with(load(self._cluster.config_file)) != _started_with(config)

    async def _wait_for_controller(self, applier: Applier, complete: Collection[str]) -> dict[str, str]:
        """
        :param complete: node pools that must become ready; of the others the controller must have said something
        :return: the others that are not, and why
        :raises EnvironmentFault: not in time
        """
        import asyncio

        await asyncio.to_thread(self._supervision.wait_for, CONTROLLER, deadline=self._deadline)
        while True:
            unready = await applier.unready_node_pools()
            self._supervision.check()
            left = {name: why for name, why in unready.items() if why is None or name in complete}
            if not left:
                return {name: why for name, why in unready.items() if why is not None}
            if time.monotonic() > self._deadline:
                name, why = next(iter(left.items()))
                raise EnvironmentFault(
                    f"node pool {name} is not ready: {why or 'the controller has not looked at it yet'}",
                    f"see `kubectl describe nodepool {name}` and {self._cluster.log_dir / 'controller.log'}",
                )
            await asyncio.sleep(_POLL)


def _complete(documents: Sequence[Mapping[str, Any]]) -> set[str]:
    """The node pools whose node class comes from the file, too. A user writes the others, and perhaps later."""
    classes = {(each["kind"], each["metadata"]["name"]) for each in documents}
    pools = [each for each in documents if each["kind"] == "NodePool"]
    references = {each["metadata"]["name"]: each["spec"]["template"]["spec"]["nodeClassRef"] for each in pools}
    return {name for name, of in references.items() if (of["kind"], of["name"]) in classes}


def _started_with(config: VClusterConfig) -> tuple[object, ...]:
    """What of the configuration a controller reads at its start only."""
    nodes = config.private_nodes
    properties = {each.provider: each.properties for each in nodes.auto_nodes}
    spread = config.control_plane.distro.k8s.scheduler.pod_topology_spread
    return properties, config.limits(), nodes.metrics_port, nodes.preference_policy, nodes.min_values_policy, spread


def _components(record: Record) -> Components:
    """Found, or else fetched with progress on standard error."""
    from autonodes.components import locate, resolve

    names, given = compose.component_names(record.settings), compose.given_directories(record)
    found, missing = locate(names, given=given)
    if not missing:
        return found
    from rich.console import Console

    from autonodes.components.progress import open_progress

    with open_progress(Console(stderr=True)) as progress:
        return resolve(names, given=given, progress=progress)


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


def _check_ports(record: Record) -> None:
    """Nothing of ours runs, so whoever is there is somebody else."""
    address = record.settings.bind_address
    remedy = "end that process, or choose another port with controlPlane.proxy.port"
    ports.check_free(record.port, address=address, remedy=remedy)
    ports.check_free(record.konnectivity_port, address=address, remedy="end that process")


def _farewell(cluster: Cluster, steps: Steps) -> None:
    named = "" if cluster.name == state.DEFAULT_NAME else f" --name {cluster.name}"
    click.echo(f"==> ready after {steps.elapsed():.1f} s\n")
    click.echo(f"    export KUBECONFIG={cluster.admin_kubeconfig}")
    click.echo(f"    autonodes status{named}")
    click.echo(f"    autonodes down{named}")
