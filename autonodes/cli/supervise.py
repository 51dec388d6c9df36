"""``autonodes supervise``: the supervisor in the foreground, for an init system. It is what `up` starts by itself."""

from __future__ import annotations

import os

import click

from autonodes.cli import state, supervision
from autonodes.cli.options import cluster_name
from autonodes.core.errors import EnvironmentFault


@click.command(hidden=True)
@cluster_name
def supervise(name: str) -> None:
    """Keep the processes of a cluster that `up` has made; end them with SIGTERM."""
    cluster = state.existing_cluster(name)
    if not cluster.plan_file.exists():
        raise EnvironmentFault(f"cluster {name} was not brought up yet", f"run `autonodes up --name {name}`")
    supervision.prepare_run_dir(cluster.run_dir)
    command = supervision.command(cluster)
    os.chdir(cluster.directory)
    os.execve(command[0], command, supervision.environment())  # noqa: S606 -- no shell: this process becomes it
