"""``autonodes replay``: the decisions that follow from a recorded snapshot."""

from __future__ import annotations

from pathlib import Path

import click

from autonodes.cli import FAILED


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--against",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="LOG",
    help="A cluster's decisions.jsonl: print only what was not decided there, and fail if there is any such decision.",
)
def replay(file: Path, against: Path | None) -> int:
    """Print the decisions that follow from a recorded snapshot, one line of JSON each.

    The same snapshot gives the same lines, byte for byte: who (pods or a node), what, why, and what all nodes cost an
    hour before and after. FILE is what `autonodes record` wrote; - for standard input.
    """
    from autonodes.cli import decisions, looking
    from autonodes.core.disruption import decide
    from autonodes.core.narration import narrate
    from autonodes.core.planner import plan

    recording = looking.recorded(file)
    snapshot = recording.snapshot
    known = decisions.lines(against) if against else frozenset()
    lines = [each.line() for each in narrate(snapshot, plan(snapshot), decide(snapshot, recording.facts))]
    unknown = [line for line in lines if line not in known]
    for line in unknown:
        click.echo(line)
    return FAILED if against and unknown else 0
