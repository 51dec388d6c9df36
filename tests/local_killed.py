"""Run one call of the local provider in a process that is killed on the way.

``python local_killed.py SETTINGS`` with a JSON object: the cluster, the call (``create`` or ``delete``) and where to
die, ``after MODULE:FUNCTION`` or ``before MODULE:FUNCTION``. A machine's starter is such a process too: it runs this
file with ``--starter WHERE`` in front of its own arguments.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def die() -> None:
    """Like SIGKILL, for process 1 too, that the kernel protects from its own signals."""
    os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)


def arrange(where: str) -> None:
    """Replace the function by one that dies before or after its work."""
    when, _, target = where.partition(" ")
    module_name, _, path = target.partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, _dying(getattr(owner, name), when))


def _dying(original: Callable[..., Any], when: str) -> Callable[..., Any]:
    @functools.wraps(original)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            await original(*args, **kwargs)
        die()

    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            original(*args, **kwargs)
        die()

    return coroutine if inspect.iscoroutinefunction(original) else function


async def call(settings: dict[str, Any]) -> None:
    from local_machines import Cluster, Idle, context
    from providers.local import LocalProvider, launching

    given = context(
        Path(settings["state_dir"]),
        cluster=settings["cluster"],
        uplink=settings["uplink"],
        images=tuple(map(Path, settings["images"])),
    )
    cluster = Cluster(given, LocalProvider(given))
    if settings.get("starter"):
        launching.PROGRAM = ("-S", "-s", "-P", __file__, "--starter", settings["starter"])  # type: ignore[misc]
    await cluster.provider.start()
    request = await cluster.request(Idle("node-1"), uid=settings["uid"])
    if settings.get("die"):
        arrange(settings["die"])
    if settings["call"] == "create":
        await cluster.provider.create(request)
    else:
        await cluster.provider.delete((await cluster.provider.list())[0].provider_id)


def main() -> int:
    if sys.argv[1] == "--starter":
        where = sys.argv[2]
        del sys.argv[1:3]
        arrange(where)
        return int(importlib.import_module("providers.local.machine.__main__").main())
    asyncio.run(call(json.loads(sys.argv[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
