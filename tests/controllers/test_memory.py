"""What the controller costs at rest."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from controllers.stage import Stage

pytestmark = pytest.mark.integration

LIMIT_MB = 80
"""Private memory of the whole process, a bound for a controller that shares a small machine with its cluster."""

_PROGRAM = """
import asyncio, sys
from pathlib import Path
from autonodes.controllers.program import ControllerContext, run
from autonodes.kube.client import KubeClient
from autonodes.kube.kubeconfig import load_kubeconfig
from autonodes.verify.cloud import Cloud
from autonodes.verify.doorman import Doorman

async def main():
    credentials = load_kubeconfig(Path(sys.argv[1]))
    async with KubeClient(credentials) as client:
        cloud = Cloud(Path(sys.argv[2]))
        await run(ControllerContext(credentials=credentials, client=client, providers={"LocalNodeClass": cloud},
                                    joiner=Doorman()))

asyncio.run(main())
"""


def private_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssAnon"))


async def test_a_whole_controller_fits_into_80_megabytes(stage: Stage, tmp_path: Path) -> None:
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    arguments = ("-c", _PROGRAM, str(stage.kubeconfig), str(tmp_path / "cloud"))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=Path(__file__).parents[1])
    try:
        async with stage.machines():
            await stage.until("its pod runs", lambda: _runs(stage))
        used = private_mb(process.pid)
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0
    assert used <= LIMIT_MB, f"{used:.0f} MB"


async def _runs(stage: Stage) -> bool:
    return await stage.phase("web") == "Running"
