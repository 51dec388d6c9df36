"""``autonodes ledger``: who had which bare-metal host, and the proof that it was wiped before somebody else got it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from autonodes.cli import FAILED, state
from autonodes.cli.options import cluster_name
from autonodes.core.ledger import Entry, Flaw, digest, flaws


@click.group()
def ledger() -> None:
    """Show and verify the ledger of bare-metal hosts."""


@ledger.command()
@cluster_name
@click.option("--kubeconfig", type=click.Path(exists=True, path_type=Path), help="Of another cluster.")
def verify(name: str, kubeconfig: Path | None) -> int:
    """Check every entry against the one before it and against what must come before it. Exit code 1 if one is false."""
    hosts, chains = asyncio.run(_read(kubeconfig or _kubeconfig(name)))
    found = list(faults(hosts, chains))
    for flaw in found:
        click.echo(str(flaw))
    entries = sum(map(len, chains.values()))
    click.echo(f"{entries} entries of {len(chains)} hosts: " + (f"{len(found)} false" if found else "all true"))
    return FAILED if found else 0


@ledger.command()
@click.argument("host")
@cluster_name
@click.option("--kubeconfig", type=click.Path(exists=True, path_type=Path), help="Of another cluster.")
def show(host: str, name: str, kubeconfig: Path | None) -> int:
    """Show the entries of one host, the oldest first."""
    hosts, chains = asyncio.run(_read(kubeconfig or _kubeconfig(name)))
    uid = next((uid for uid, body in hosts.items() if body["metadata"]["name"] == host), "")
    if not uid:
        raise click.BadParameter(f"no host {host}", param_hint="HOST")
    for entry in chains.get(uid, ()):
        click.echo(_line(entry))
    return 0


def faults(hosts: Mapping[str, Mapping[str, Any]], chains: Mapping[str, Sequence[Entry]]) -> list[Flaw]:
    """Of all hosts: those that are there, and those that are gone and have left a chain.

    :param hosts: `BareMetalHost` objects by UID
    """
    found: list[Flaw] = []
    for uid in sorted(hosts.keys() | chains.keys()):
        body, chain = hosts.get(uid), chains.get(uid, ())
        if body is not None:
            head = (body.get("status") or {}).get("ledgerHead", "")
            found += flaws(body["metadata"]["name"], chain, head=head)
        else:  # its newest hash went with it: what is left must be true in itself
            found += flaws(chain[0].host, chain, head=digest(chain[-1]))
    return found


def _line(entry: Entry) -> str:
    when = dt.datetime.fromtimestamp(entry.at, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    what = " ".join(each for each in (entry.tenant, entry.claim, entry.level) if each)
    said = ", ".join(f"{key}: {value}" for key, value in sorted(entry.proof.items()) if key not in ("nonce", "level"))
    return f"{entry.sequence:4} {when} {entry.event:10} {what}" + (f" ({said})" if said else "")


def _kubeconfig(name: str) -> Path:
    return state.existing_cluster(name).admin_kubeconfig


async def _read(kubeconfig: Path) -> tuple[dict[str, dict[str, Any]], Mapping[str, Sequence[Entry]]]:
    from autonodes.kube.client import KubeClient
    from autonodes.kube.ledger import Ledger
    from autonodes.kube.resources import BAREMETALHOSTS

    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        # strictly in this order: an entry is written before its hash
        hosts = {body["metadata"]["uid"]: body for body in await client.list(BAREMETALHOSTS)}
        chains = await Ledger(client).chains()
    return hosts, chains
