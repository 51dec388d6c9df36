"""What a process takes: processor time and private memory, as Linux counts them, and a sampler of both."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Of all its threads, in user and kernel mode."""
    fields = stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` that come after the command: the state is the first."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def private_mb(pid: int) -> float:
    """RssAnon in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))


@dataclass
class Usage:
    """Of one process over some time.

    :param memory_mb: samples of its private memory
    """

    cpu_s: float = 0.0
    seconds: float = 0.0
    memory_mb: list[float] = field(default_factory=list)

    @property
    def cores(self) -> float:
        return self.cpu_s / self.seconds

    @property
    def p95_mb(self) -> float:
        return sorted(self.memory_mb)[int(0.95 * (len(self.memory_mb) - 1))]


@contextlib.asynccontextmanager
async def watched(pid: int, *, every: float = 0.25) -> AsyncIterator[Usage]:
    """What it takes while the block runs; whole at the end of the block.

    :param every: seconds between two samples of its memory
    """
    usage, loop = Usage(), asyncio.get_running_loop()
    cpu, began = cpu_seconds(pid), loop.time()

    async def sample() -> None:
        while True:
            usage.memory_mb.append(private_mb(pid))
            await asyncio.sleep(every)

    sampling = asyncio.create_task(sample())
    try:
        yield usage
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
    usage.cpu_s, usage.seconds = cpu_seconds(pid) - cpu, loop.time() - began
    usage.memory_mb.append(private_mb(pid))
