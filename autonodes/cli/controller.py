"""``autonodes controller``: the controller of one cluster, in the foreground. The supervisor runs it."""

from __future__ import annotations

import asyncio

import click

from autonodes.cli import compose, logs, state
from autonodes.cli.options import cluster_name


@click.command(hidden=True)
@cluster_name
@click.option(
    "--logging-format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="AUTONODES_LOGGING_FORMAT",
    show_envvar=True,
    help="Of the log on standard error.",
)
def controller(name: str, form: logs.Form) -> None:
    """Buy nodes for the pods of a cluster that wait, and give them back."""
    logs.configure(form)
    asyncio.run(compose.run_controller(state.existing_cluster(name)))
