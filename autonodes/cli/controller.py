"""``autonodes controller``: the controller of one cluster, in the foreground. The supervisor runs it."""

from __future__ import annotations

import asyncio
import logging

import click

from autonodes.cli import compose, state
from autonodes.cli.options import cluster_name


@click.command(hidden=True)
@cluster_name
def controller(name: str) -> None:
    """Buy nodes for the pods of a cluster that wait, and give them back."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(compose.run_controller(state.existing_cluster(name)))
