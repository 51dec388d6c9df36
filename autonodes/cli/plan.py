"""``autonodes plan``: what would be bought, without a cluster.

The same planner on the same kind of snapshot as in the controller, with a built-in or given catalogue in place of a
provider.
"""

from __future__ import annotations

import json
from dataclasses import replace

import click

from autonodes.cli import FAILED
from autonodes.core.errors import ConfigError


@click.command()
@click.option(
    "-f",
    "--filename",
    "paths",
    multiple=True,
    required=True,
    metavar="FILE",
    help="Kubernetes manifests (YAML or JSON), a directory of them, a snapshot of `autonodes record`, or a trace as "
    "CSV; - for standard input. May be given several times.",
)
@click.option(
    "--catalog",
    metavar="ec2[:REGION]|kwok|FILE",
    help="What can be bought: EC2's types and prices as of the built-in table's date, simulated sizes, or a file of "
    "your own. The default is ec2:us-east-1; a recorded snapshot brings its own.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=5.0,
    show_default=True,
    help="What the plan may take to become cheaper; 0 for the first answer.",
)
@click.option(
    "--preference-policy",
    type=click.Choice(["Respect", "Ignore"]),
    help="Whether what pods prefer decides where it costs nothing. The default is Respect, or what a recorded snapshot "
    "says.",
)
@click.option(
    "--min-values-policy",
    type=click.Choice(["Strict", "BestEffort"]),
    help="Whether nodes are bought that leave less of a choice than minValues of their NodePool ask for. The default "
    "is Strict, or what a recorded snapshot says.",
)
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml", "html"]), default="table", show_default=True
)
def plan(
    paths: tuple[str, ...],
    catalog: str | None,
    deadline: float,
    preference_policy: str | None,
    min_values_policy: str | None,
    output: str,
) -> int:
    """Show which nodes would be bought for these pods, and what they would cost.

    Nothing is contacted and nothing is bought. Workloads count with the pods that they ask for. NodePools among the
    files are used as they are; without any there is one, on demand, for amd64.

    Exit code 0 if every pod has a node, 1 if some pod has none or something in the files had to be left out, 2 if
    there is nothing to plan for or the command is used wrongly.
    """
    from autonodes.cli import catalogs, inputs, planpage, planreport, plantable
    from autonodes.core import planner
    from autonodes.core.proof import prove
    from autonodes.core.shapes import is_planned

    given = catalogs.open_catalogue(catalog) if catalog else None
    fallback = given or catalogs.open_catalogue(catalogs.DEFAULT)
    found = inputs.read(paths, given, fallback)
    found.faults.extend(fallback.faults)
    if not found.faults and not any(map(is_planned, found.snapshot.pods)):
        remedy = "there is no pod in it that waits for a node"
        ignored = f" ({', '.join(found.passed_over)} is nothing that pods come from)" if found.passed_over else ""
        raise ConfigError("-f", " ".join(paths), remedy + ignored)
    pools = tuple(replace(pool, planning_deadline=deadline) for pool in found.snapshot.pools)
    found.snapshot = replace(
        found.snapshot,
        pools=pools,
        preference_policy=preference_policy or found.snapshot.preference_policy,
        min_values_policy=min_values_policy or found.snapshot.min_values_policy,
    )
    made = planner.plan(found.snapshot)
    report = planreport.report(found, made, prove(found.snapshot, made), fallback.name)
    if output == "table":
        plantable.show(report)
    elif output == "html":
        click.echo(planpage.render(report), nl=False)
    else:
        click.echo(_dumped(report.as_json(), output), nl=False)
    return FAILED if report.left or report.faults else 0


def _dumped(document: dict[str, object], form: str) -> str:
    if form == "json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    import yaml

    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
