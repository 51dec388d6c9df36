"""``autonodes record``: what the planner of a cluster sees, in a file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from autonodes.cli.options import cluster_name


@click.command()
@cluster_name
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file, packed if it ends in .gz; without it, to standard output.",
)
def record(name: str, output: Path | None) -> None:
    """Record what the planner of a cluster sees now.

    Pods, nodes, claims, pools, daemons and what each pool can buy, as far as scheduling depends on them. No
    environment variables, no contents of volumes or Secrets. `autonodes replay`, `explain` and `plan` read it.
    """
    from autonodes.cli import looking
    from autonodes.core.recording import encode

    recording = looking.record_cluster(name)
    text = encode(recording) + b"\n"
    if output is None:
        sys.stdout.buffer.write(text)
        return
    output.write_bytes(looking.packed(text) if output.suffix == ".gz" else text)
    snapshot = recording.snapshot
    click.echo(f"{output}: {len(snapshot.pods)} pods, {len(snapshot.nodes)} nodes, {len(snapshot.pools)} NodePools")
