"""A recording of a cluster that runs, or one from a file; and what became of an object: decisions and events."""

from __future__ import annotations

import asyncio
import gzip
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from autonodes.cli import compose, decisions, state
from autonodes.cli.documents import files
from autonodes.core.errors import EnvironmentFault
from autonodes.core.recording import Recording, decode

_MOST_EVENTS: Final = 12
_MOST_DECISIONS: Final = 24


@dataclass(frozen=True, slots=True)
class Event:
    """:param at: seconds since the epoch, of the last time
    :param text: ``Reason: message``, with the number of times if it is more than one; of a decision, what and why
    """

    at: float
    text: str


def record_cluster(name: str) -> Recording:
    """What the planner of a cluster sees now.

    :raises EnvironmentFault: there is no such cluster, or it does not run
    :raises AutonodesError: its API server can't be read
    """
    return asyncio.run(_record(state.existing_cluster(name)))


def recorded(path: Path) -> Recording:
    """:raises ConfigError: there is no such file, or it is not a recording"""
    (file,) = files([str(path)])
    return decode(file.content, source=file.source)


def packed(recording: bytes) -> bytes:
    """The same bytes for the same recording: without the time."""
    return gzip.compress(recording, mtime=0)


def events(name: str, kind: str, object_name: str, namespace: str) -> list[Event]:
    """Of one object, which need not be there any more; the newest last."""
    return asyncio.run(_events(state.existing_cluster(name), kind, object_name, namespace))


def history(name: str, about: str) -> list[Event]:
    """What was decided about a pod (``namespace/name``), node or claim, which need not be there any more; the newest
    last."""
    found = decisions.read(state.existing_cluster(name).decisions_file, about=frozenset((about,)))
    return [Event(entry.at, entry.text) for entry in deque(found, maxlen=_MOST_DECISIONS)]


async def _record(cluster: state.Cluster) -> Recording:
    from autonodes.api.vcluster import load
    from autonodes.controllers.clock import SystemClock
    from autonodes.controllers.looking import look
    from autonodes.kube.client import KubeClient

    config, record = load(cluster.config_file), cluster.record()
    if record is None:
        raise _not_up(cluster)
    async with (
        KubeClient.from_kubeconfig(_kubeconfig(cluster), user_agent="autonodes-record") as client,
        compose.open_providers(cluster, config, record, client, components=compose.installed(record)) as providers,
    ):
        return await look(client, providers, settings=compose.controller_settings(config), clock=SystemClock())


async def _events(cluster: state.Cluster, kind: str, name: str, namespace: str) -> list[Event]:
    from autonodes.kube.client import KubeClient
    from autonodes.kube.resources import EVENTS

    selector = f"involvedObject.kind={kind},involvedObject.name={name}"
    async with KubeClient.from_kubeconfig(_kubeconfig(cluster), user_agent="autonodes-explain") as client:
        found = await client.list(EVENTS, namespace=namespace or None, field_selector=selector)
    return sorted((_event(each) for each in found), key=lambda event: event.at)[-_MOST_EVENTS:]


def _event(body: dict[str, Any]) -> Event:
    series, count = body.get("series") or {}, body.get("count") or 1
    stamps: Sequence[str | None] = (
        series.get("lastObservedTime"),
        body.get("lastTimestamp"),
        body.get("eventTime"),
        body["metadata"].get("creationTimestamp"),
    )
    last = next(stamp for stamp in stamps if stamp)
    times = f" (x{count})" if count > 1 else ""
    return Event(
        datetime.fromisoformat(last).astimezone(UTC).timestamp(), f"{body['reason']}: {body['message']}{times}"
    )


def _kubeconfig(cluster: state.Cluster) -> Path:
    if not cluster.admin_kubeconfig.exists():
        raise _not_up(cluster)
    return cluster.admin_kubeconfig


def _not_up(cluster: state.Cluster) -> EnvironmentFault:
    return EnvironmentFault(f"cluster {cluster.name} is not up", f"run `autonodes up --name {cluster.name}`")
