"""Backoff, and the soft memory limit that grows with a process's needs."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest

from syncer import keeper as keeping_module
from syncer import logfiles, status
from syncer.keeper import BUSY_CHECKS, FIRST_DELAY, LONGEST_DELAY, OVER_LIMIT_CHECKS, Keeper, restart_delay
from syncer.process import Process


def test_the_delay_doubles_up_to_a_limit() -> None:
    delays = [restart_delay(failures) for failures in range(1, 100)]
    assert delays[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY


async def test_a_process_that_needs_more_memory_than_its_soft_limit_gets_twice_as_much(tmp_path: Path) -> None:
    script = "import os, time; held = b'x' * (80 << 20); print(os.environ['GOMEMLIMIT'], flush=True); time.sleep(1000)"
    process = Process(name="greedy", argv=(sys.executable, "-c", script), soft_memory_mb=40)
    keeper = Keeper(process, log=tmp_path / "log", changed=lambda: None)
    keeping = asyncio.ensure_future(keeper.run(()))
    try:
        await _said(tmp_path / "log", "40MiB")
        await keeper.ready.wait()
        for _ in range(OVER_LIMIT_CHECKS):
            keeper.check_memory()
        await _said(tmp_path / "log", "80MiB")
        assert keeper.status.soft_memory_mb == 80
    finally:
        await _end(keeping, keeper)


async def test_a_process_that_is_busy_next_to_its_soft_limit_gets_twice_as_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping_module, "BUSY_CORES", 0.02)  # what it gets of a machine that others load, too
    script = (
        "import os; held = b'x' * (34 << 20); print(os.environ['GOMEMLIMIT'], flush=True)\n"
        "while os.environ['GOMEMLIMIT'] == '40MiB': pass\n"
        "import time; time.sleep(1000)"
    )
    process = Process(name="collecting", argv=(sys.executable, "-c", script), soft_memory_mb=40)
    keeper = Keeper(process, log=tmp_path / "log", changed=lambda: None)
    keeping = asyncio.ensure_future(keeper.run(()))
    try:
        await _said(tmp_path / "log", "40MiB")
        await keeper.ready.wait()
        for _ in range(BUSY_CHECKS + 1):
            await asyncio.sleep(0.5)  # of CPU time, which is what is looked at
            keeper.check_memory()
        await _said(tmp_path / "log", "80MiB")
        assert keeper.status.soft_memory_mb == 80
    finally:
        await _end(keeping, keeper)


async def test_a_process_within_its_soft_limit_is_left_alone(tmp_path: Path) -> None:
    script = "import os, time; print(os.environ['GOMEMLIMIT'], flush=True); time.sleep(1000)"
    process = Process(name="modest", argv=(sys.executable, "-c", script), soft_memory_mb=40)
    keeper = Keeper(process, log=tmp_path / "log", changed=lambda: None, memory_mb=90)
    keeping = asyncio.ensure_future(keeper.run(()))
    try:
        await _said(tmp_path / "log", "90MiB")  # what an earlier supervisor ended with
        await keeper.ready.wait()
        for _ in range(OVER_LIMIT_CHECKS + 1):
            keeper.check_memory()
        assert (keeper.status.soft_memory_mb, keeper.status.state) == (90, status.READY)
    finally:
        await _end(keeping, keeper)


async def _said(log: Path, word: str) -> None:
    async with asyncio.timeout(30):
        while word not in "".join(logfiles.tail(log, lines=9)):  # noqa: ASYNC110 -- another process writes it
            await asyncio.sleep(0.01)


async def _end(keeping: asyncio.Future[None], keeper: Keeper) -> None:
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
    await keeper.stop()
