"""``autonodes replay``: the decisions that follow from a recorded snapshot."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
def replay(file: Path) -> None:
    """Print the decisions that follow from a recorded snapshot, one line of JSON each.

    The same snapshot gives the same lines, byte for byte: who (pods or a node), what, why, and what all nodes cost an
    hour before and after. FILE is what `autonodes record` wrote; - for standard input.
    """
    from autonodes.cli import looking
    from autonodes.core.emptiness import empty_nodes
    from autonodes.core.narration import narrate
    from autonodes.core.planner import plan

    recording = looking.recorded(file)
    snapshot = recording.snapshot
    verdicts = empty_nodes(snapshot, recording.pod_events)
    for decision in narrate(snapshot, plan(snapshot), verdicts):
        click.echo(decision.line())
