"""The end of a machine, in an order that leaves it findable until nothing is left.

Marked first; then its processes are killed, which takes its mounts and namespaces with them; then its link, its control
groups and its files go, and its directory last. Each step does nothing when it has been done before.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from autonodes.provider import ProviderError
from providers.local import cgroups
from providers.local.lan import Lan, run
from providers.local.records import Records, try_lock

WITHIN: Final = 10.0
"""Seconds for processes to die and groups to empty; a process in an uninterruptible call takes longer, and the next
attempt goes on from there."""
_POLL: Final = 0.01


async def remove(records: Records, claim_uid: str, *, group: str, lan: Lan, lock: int) -> None:
    """Remove a machine.

    :param lock: of `Records.lock`; a tool that outlives a killed caller goes on holding it

    :raises ProviderError: not finished; repeat
    """
    directory = records.directory(claim_uid)
    records.mark_deleting(claim_uid)
    await kill(directory, group)
    if (record := records.load(claim_uid)) is not None:
        await lan.disconnect(record.address, lock)
    await remove_group(group)
    # never across a mount: should one be left, then what is mounted there is not ours
    await run("rm", "-rf", "--one-file-system", str(directory / "rootfs"), lock=lock)
    records.forget(claim_uid)


async def kill(directory: Path, group: str) -> None:
    """End all processes of a machine, a starter that is about to make one too.

    Who holds the machine's lock has seen its starter and its first process end; all others are in its group.

    :raises ProviderError: some are still there
    """
    async for _ in _attempts(f"processes of {directory.name} do not end"):
        if cgroups.kill(group):
            continue
        lock = try_lock(directory / "lock")
        if lock is not None:
            os.close(lock)
            if not cgroups.members(group):  # one may have come between the two looks above
                return


async def remove_group(group: str) -> None:
    """:raises ProviderError: it is still in use"""
    async for _ in _attempts(f"the control group {group} is still in use"):
        if cgroups.remove(group):
            return


async def _attempts(failure: str) -> AsyncIterator[None]:
    deadline = asyncio.get_running_loop().time() + WITHIN
    while asyncio.get_running_loop().time() < deadline:
        yield
        await asyncio.sleep(_POLL)
    raise ProviderError(f"{failure}; trying again later")
