"""Run a cluster's controller in a process that is killed at every step that it takes for the first time.

``python controller_killed.py CLUSTER FILE``: a step is a write to the API server or a call of the provider that changes
something, and it is looked at twice, before and after it happens. FILE remembers at which steps a controller was killed
already, so a row of such processes gets on by one step each, and the last one is not killed at all.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from autonodes.cli import compose, state
from autonodes.kube.client import KubeClient
from autonodes.kube.resources import EVENTS, LEASES
from providers.local import LocalProvider

WRITES = ("create", "replace", "merge_patch", "json_patch", "apply", "delete", "evict")
CALLS = ("create", "delete")
_LOUD = frozenset({EVENTS.plural, LEASES.plural})


class Steps:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = set(file.read_text().splitlines()) if file.exists() else set()

    def reach(self, step: str) -> None:
        if step in self._seen:
            return
        with self._file.open("a") as output:
            output.write(f"{step}\n")
        os.kill(os.getpid(), signal.SIGKILL)

    def around(
        self, original: Callable[..., Awaitable[Any]], describe: Callable[..., str | None]
    ) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(original)
        async def step(*args: Any, **kwargs: Any) -> Any:
            name = describe(*args, **kwargs)
            if name is None:
                return await original(*args, **kwargs)
            self.reach(f"before {name}")
            result = await original(*args, **kwargs)
            self.reach(f"after {name}")
            return result

        return step


def describe_write(verb: str, *arguments: Any, **keywords: Any) -> str | None:
    """What is written where: ``merge_patch nodeclaims status Launched``; None for what leaves nothing behind."""
    if verb == "evict":
        return verb
    _, resource, *rest = arguments
    if resource.plural in _LOUD:
        return None
    bodies = [each for each in rest if isinstance(each, dict)]
    status = bodies[0].get("status") or {} if bodies else {}
    true = [each["type"] for each in status.get("conditions", ()) if each.get("status") == "True"]
    return " ".join((verb, resource.plural, keywords.get("subresource", ""), *sorted(true)))


def main(cluster: str, file: str) -> None:
    steps = Steps(Path(file))
    for verb in WRITES:
        describe = functools.partial(describe_write, verb)
        setattr(KubeClient, verb, steps.around(getattr(KubeClient, verb), describe))
    for call in CALLS:
        setattr(
            LocalProvider, call, steps.around(getattr(LocalProvider, call), lambda *_, call=call: f"provider {call}")
        )
    asyncio.run(compose.run_controller(state.existing_cluster(cluster)))


if __name__ == "__main__":
    main(*sys.argv[1:])
