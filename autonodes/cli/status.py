"""``autonodes status``: the processes of a cluster, its nodes and pools."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from autonodes.cli import FAILED, state
from autonodes.cli.options import cluster_name
from autonodes.cli.state import Cluster
from autonodes.cli.supervision import Supervision
from syncer.controlplane.settings import LOOPBACK
from syncer.status import READY, ProcessStatus

_PATIENCE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Report:
    """:param state: ``running``, ``degraded`` (something of it is not ready) or ``stopped``
    :param processes: as they are shown; empty when stopped
    :param objects: what the API server says; None when it says nothing
    """

    name: str
    state: str
    server: str
    kubeconfig: Path
    processes: Sequence[Mapping[str, Any]]
    objects: Mapping[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "server": self.server,
            "kubeconfig": str(self.kubeconfig),
            "processes": list(self.processes),
            **(self.objects or {"nodePools": None, "nodes": None}),
        }


@click.command()
@cluster_name
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(name: str, output: str) -> int:
    """Show what runs and how it is. Exit code 1 if the cluster is not wholly well."""
    report = _report(state.existing_cluster(name))
    if output == "json":
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        _show(report)
    return 0 if report.state == "running" else FAILED


def _report(cluster: Cluster) -> Report:
    supervision = Supervision.of(cluster)
    current = supervision.status() if supervision else None
    processes = [_process(each) for each in current.processes] if current else []
    record = cluster.record()
    well = bool(processes) and all(each["state"] == READY for each in processes)
    return Report(
        name=cluster.name,
        state="running" if well else "degraded" if processes else "stopped",
        server=f"https://{LOOPBACK}:{record.port}" if record else "",
        kubeconfig=cluster.admin_kubeconfig,
        processes=processes,
        objects=asyncio.run(_objects(cluster)) if processes else None,
    )


def _process(process: ProcessStatus) -> dict[str, Any]:
    pid = process.identity.pid if process.identity else None
    return {
        "name": process.name,
        "state": process.state,
        "pid": pid,
        "privateMB": _private_mb(pid) if pid else None,
        "restarts": process.restarts,
        "sinceSeconds": round(time.time() - process.since, 1),
        "lastExit": process.last_exit or None,
    }


async def _objects(cluster: Cluster) -> dict[str, Any] | None:
    from autonodes.kube.client import KubeClient
    from autonodes.kube.errors import ApiError
    from autonodes.kube.resources import NODEPOOLS, NODES

    try:
        async with (
            asyncio.timeout(_PATIENCE),
            KubeClient.from_kubeconfig(cluster.admin_kubeconfig, user_agent="autonodes-status") as client,
        ):
            pools, nodes = await asyncio.gather(client.list(NODEPOOLS), client.list(NODES))
    except (ApiError, TimeoutError):
        return None
    return {"nodePools": [_pool(pool) for pool in pools], "nodes": [_node(node) for node in nodes]}


def _pool(pool: Mapping[str, Any]) -> dict[str, Any]:
    ready = _condition(pool, "Ready")
    return {
        "name": pool["metadata"]["name"],
        "nodeClass": pool["spec"]["template"]["spec"]["nodeClassRef"]["kind"],
        "ready": ready.get("status") == "True",
        "message": None if ready.get("status") == "True" else ready.get("message") or "not looked at yet",
        "nodes": pool.get("status", {}).get("nodes", 0),
    }


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    labels = node["metadata"].get("labels", {})
    created = datetime.fromisoformat(node["metadata"]["creationTimestamp"])
    return {
        "name": node["metadata"]["name"],
        "ready": _condition(node, "Ready").get("status") == "True",
        "nodePool": labels.get("karpenter.sh/nodepool"),
        "instanceType": labels.get("node.kubernetes.io/instance-type"),
        "ageSeconds": round(time.time() - created.timestamp()),
    }


def _condition(found: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions: list[Mapping[str, Any]] = found.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})


def _private_mb(pid: int) -> float | None:
    """RssAnon in MiB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith("RssAnon:")), None)


def _show(report: Report) -> None:
    colour = {"running": "green", "degraded": "yellow", "stopped": "red"}[report.state]
    click.echo(f"cluster {report.name}: {click.style(report.state, fg=colour)}   {report.server}")
    if report.state == "stopped":
        click.echo(f"start it with: autonodes up --name {report.name}")
        return
    _print_table(("PROCESS", "STATE", "PID", "PRIVATE MB", "RESTARTS", "SINCE", "LAST EXIT"), _rows(report))
    if report.objects is None:
        click.echo("\nthe API server does not answer")
        return
    pools = [(each["name"], each["nodeClass"], each["nodes"], _yes(each)) for each in report.objects["nodePools"]]
    _print_table(("NODEPOOL", "NODE CLASS", "NODES", "READY"), pools)
    nodes = [
        (each["name"], each["nodePool"] or "", each["instanceType"] or "", _age(each["ageSeconds"]), _yes(each))
        for each in report.objects["nodes"]
    ]
    if nodes:
        _print_table(("NODE", "NODEPOOL", "TYPE", "AGE", "READY"), nodes)
    else:
        click.echo("\nno nodes: no pod waits for one")


def _rows(report: Report) -> list[tuple[Any, ...]]:
    return [
        (
            each["name"],
            each["state"],
            each["pid"] or "",
            each["privateMB"] or "",
            each["restarts"],
            _age(each["sinceSeconds"]),
            each["lastExit"] or "",
        )
        for each in report.processes
    ]


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """As kubectl's: never cut, so that it can be searched."""
    cells = [tuple(columns), *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    click.echo()
    for line in cells:
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _yes(each: Mapping[str, Any]) -> str:
    return "yes" if each["ready"] else f"no: {each['message']}" if each.get("message") else "no"


def _age(seconds: float) -> str:
    """As kubectl: the largest unit that gives a whole number, two at the most."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"
