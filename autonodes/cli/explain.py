"""``autonodes explain``: why a pod waits, why a node was bought, is kept or went away."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from autonodes.cli.options import cluster_name

if TYPE_CHECKING:
    from autonodes.cli.looking import Event
    from autonodes.core.explanation import Explanation
    from autonodes.core.recording import Recording

_KINDS: Final = {
    **dict.fromkeys(("pod", "pods", "po"), "Pod"),
    **dict.fromkeys(("node", "nodes", "no"), "Node"),
    **dict.fromkeys(("nodeclaim", "nodeclaims"), "NodeClaim"),
}


@click.command()
@click.argument("kind", metavar="pod|node|nodeclaim")
@click.argument("object_name", metavar="NAME")
@click.option("-n", "--namespace", default="default", show_default=True, help="Of the pod.")
@click.option(
    "-f", "--filename", "path", type=click.Path(path_type=Path), help="A snapshot of `autonodes record`; no cluster."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@cluster_name
def explain(kind: str, object_name: str, namespace: str, path: Path | None, output: str, name: str) -> None:
    """Say why a pod waits, or why a node was bought and is kept or went away.

    For a pod that waits: each node, and of each NodePool each instance type, with the first thing that rules it out.
    For a node or its NodeClaim: what it was bought for, why nothing cheaper was, and which pods or rules keep it.
    """
    from autonodes.cli import looking
    from autonodes.core.explanation import UnknownObjectError

    known = _KINDS.get(kind.lower())
    if known is None:
        raise click.UsageError(f"explain knows pod, node and nodeclaim, not {kind!r}")
    recording = looking.recorded(path) if path else looking.record_cluster(name)
    events = [] if path else looking.events(name, known, object_name, namespace if known == "Pod" else "")
    key = f"{namespace}/{object_name}" if known == "Pod" else object_name
    history = [] if path else looking.history(name, key)
    try:
        found = _explained(recording, known, object_name, namespace)
    except UnknownObjectError:
        if not history and (known == "Pod" or not events):
            raise
        found = _gone(known, key, history or events)
    now = recording.snapshot.now if path else time.time()
    click.echo(_json(found, history, events) if output == "json" else _text(found, history, events, now))


def _explained(recording: Recording, kind: str, name: str, namespace: str) -> Explanation:
    from autonodes.core import explanation

    if kind == "Pod":
        return explanation.explain_pod(recording, namespace, name)
    return (explanation.explain_node if kind == "Node" else explanation.explain_claim)(recording, name)


def _gone(kind: str, name: str, events: Sequence[Event]) -> Explanation:
    """An object that is not there any more, of which decisions or events still tell."""
    from autonodes.core.explanation import Explanation

    return Explanation(
        f"{kind.lower()} {name}", "Gone", f"it is not there any more; the last word was {events[-1].text}"
    )


def _text(found: Explanation, history: Sequence[Event], events: Sequence[Event], now: float) -> str:
    from autonodes.core.durations import format_duration

    blocks = [f"{found.subject}: {found.state}\n  {found.because}"]
    blocks += ["\n".join([section.title, *(f"  {line}" for line in section.lines)]) for section in found.sections]
    for title, listed in (("Decisions", history), ("Events", events)):
        if listed:
            lines = [f"  {format_duration(max(0, round(now - each.at)))} ago  {each.text}" for each in listed]
            blocks.append("\n".join([title, *lines]))
    return "\n\n".join(blocks)


def _json(found: Explanation, history: Sequence[Event], events: Sequence[Event]) -> str:
    document = {
        "subject": found.subject,
        "state": found.state,
        "because": found.because,
        "sections": [{"title": section.title, "lines": list(section.lines)} for section in found.sections],
        "decisions": [{"at": each.at, "text": each.text} for each in history],
        "events": [{"at": each.at, "text": each.text} for each in events],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)
