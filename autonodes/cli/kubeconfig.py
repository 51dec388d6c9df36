"""``autonodes kubeconfig``: the administrator's way in."""

from __future__ import annotations

import click

from autonodes.cli import state
from autonodes.cli.options import cluster_name
from autonodes.core.errors import EnvironmentFault


@click.command()
@cluster_name
@click.option("--path", "only_path", is_flag=True, help="Print where the file is instead of what is in it.")
@click.option("--server", metavar="URL", help="Put this address in it, for use from another machine.")
def kubeconfig(name: str, only_path: bool, server: str | None) -> None:
    """Print the administrator's kubeconfig."""
    cluster = state.existing_cluster(name)
    if not cluster.admin_kubeconfig.exists():
        raise EnvironmentFault(f"cluster {name} has no kubeconfig yet", f"run `autonodes up --name {name}`")
    if only_path and server:
        raise click.UsageError("--server changes what is printed: give one of --path and --server")
    if only_path:
        click.echo(cluster.admin_kubeconfig)
    else:
        click.echo(_with_server(cluster.admin_kubeconfig.read_text(), server), nl=False)


def _with_server(text: str, server: str | None) -> str:
    if server is None:
        return text
    import yaml

    document = yaml.safe_load(text)
    for each in document["clusters"]:
        each["cluster"]["server"] = server
    return yaml.safe_dump(document, sort_keys=False)
