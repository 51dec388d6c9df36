"""``autonodes down``: a cluster with all its nodes and data, gone.

The order is what makes it safe to interrupt and to repeat: the controller ends first, so that nobody buys a node any
more; then the machines go, while the API server still answers for providers that need it; then the processes; and the
directory that says that there was a cluster at all is the last.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import click

from autonodes.cli import compose, state
from autonodes.cli.locking import locked
from autonodes.cli.options import cluster_name
from autonodes.cli.state import Cluster, Record
from autonodes.cli.steps import Steps
from autonodes.cli.supervision import Supervision
from autonodes.core.errors import AutonodesError, EnvironmentFault
from syncer.controlplane.preparation import CONTROLLER

IN_THE_DATABASE: Final = frozenset({"kwok"})
"""Providers whose machines are objects of the cluster itself: they go with its database."""
_POLL: Final = 0.1
_LONGEST: Final = 5.0
"""Seconds between looks at machines that go: the first pause, and the longest."""


@click.command()
@cluster_name
@click.option("--wait", default=120.0, show_default=True, metavar="SECONDS", help="How long the nodes may take to go.")
def down(name: str, wait: float) -> None:
    """Remove a cluster with all its nodes and data. Safe to repeat."""
    cluster = state.cluster(name)
    if not cluster.exists():
        click.echo(f"no cluster {name}: nothing to do")
        return
    with locked(cluster):
        _remove(cluster, wait)


def _remove(cluster: Cluster, wait: float) -> None:
    steps = Steps()
    steps.title(f"removing cluster {cluster.name}")
    supervision = Supervision.of(cluster)
    if supervision is not None and supervision.status() is not None:
        with steps.step("controller") as step:
            supervision.close_gate(CONTROLLER)
            step.said = "stopped"
    with steps.step("nodes") as step:
        step.said = f"{asyncio.run(_remove_machines(cluster, wait))} removed"
    with steps.step("control plane") as step:
        if supervision is not None:
            supervision.stop()
        step.said = "stopped"
    with steps.step("data") as step:
        cluster.remove()
        step.said = f"{cluster.directory} removed"


async def _remove_machines(cluster: Cluster, wait: float) -> int:
    """How many there were.

    :raises EnvironmentFault: some will not go; nothing else was removed
    """
    record = cluster.record()
    if record is None or not cluster.config_file.exists():
        return 0  # `up` never got so far as to have nodes
    names = set(record.settings.providers) - IN_THE_DATABASE
    return await _remove_all(cluster, record, wait) if names else 0


async def _remove_all(cluster: Cluster, record: Record, wait: float) -> int:
    from autonodes.api.vcluster import load
    from autonodes.kube.client import KubeClient
    from autonodes.kube.kubeconfig import load_kubeconfig

    deadline = time.monotonic() + wait
    credentials = load_kubeconfig(cluster.admin_kubeconfig)
    async with (
        KubeClient(credentials, user_agent="autonodes-down") as client,
        compose.open_providers(
            cluster, load(cluster.config_file), record, client, components=compose.installed(record)
        ) as providers,
    ):
        count = 0
        for provider in providers.values():
            if provider.name not in IN_THE_DATABASE:
                count += await _empty(provider, deadline)
        return count


async def _empty(provider: Any, deadline: float) -> int:
    """Delete until nothing is listed, then what the provider itself has made."""
    from autonodes.provider import MachineNotFoundError

    first = machines = await provider.list()
    pause = _POLL
    while machines:
        for machine in machines:
            try:
                await provider.delete(machine.provider_id)
            except MachineNotFoundError:
                continue
        machines = await provider.list()
        if machines and time.monotonic() > deadline:
            raise EnvironmentFault(
                f"{len(machines)} machines of provider {provider.name} are still there: "
                + ", ".join(machine.claim_name for machine in machines),
                "run `autonodes down` again; nothing else was removed",
            )
        await asyncio.sleep(pause if machines else 0)
        pause = min(2 * pause, _LONGEST)  # a cloud takes a minute, and refuses who asks too often
    if hasattr(provider, "purge"):
        await _purge(provider, deadline)
    return len(first)


async def _purge(provider: Any, deadline: float) -> None:
    while True:
        try:
            await provider.purge()
        except AutonodesError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_POLL)
        else:
            return
