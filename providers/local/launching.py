"""From a record to a running machine: what its starter is told, and the wait for it.

The starter gets the machine's lock before it exists and hands it on to the machine's first process, so that at no
moment two of them can be at work: a caller that finds the lock taken waits for what the other one brings about.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from autonodes.provider import BootPlan, ProviderError
from providers.local.machine.order import File, Network, Order, Process
from providers.local.records import Record, Records, try_lock

PROGRAM: Final = ("-S", "-s", "-P", "-m", "providers.local.machine")
"""To the interpreter: this module, with the standard library and nothing else."""

_SOURCES: Final = Path(__file__).parents[2]
_POLL: Final = 0.02
_RESOLV_CONF: Final = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))

_SYSTEM_MEMORY: Final = 512 * 2**20
_POD_MEMORY: Final = 8 * 2**20
"""Bytes on top of a machine's size: for containerd, kubelet and caches, and for each pod's shim."""


class LaunchError(ProviderError):
    """A machine could not be started; the text is what its starter said."""


def order(
    record: Record,
    plan: BootPlan,
    *,
    directory: Path,
    group: str,
    network: Network,
    programs: Path,
    containerd_root: str,
) -> Order:
    """All that the starter needs to know."""
    return Order(
        root=str(directory / "rootfs"),
        record=str(directory / "init.json"),
        group=group,
        memory=record.memory + _SYSTEM_MEMORY + record.pods * _POD_MEMORY,
        cpu=record.cpu,
        hostname=plan.node_name[:63],
        machine_id=hashlib.sha256(record.claim_uid.encode()).hexdigest()[:32],
        resolv_conf=resolv_conf(),
        network=network,
        programs=str(programs),
        containerd_root=containerd_root,
        files=tuple(File(path=file.path, content=file.content, mode=file.mode) for file in plan.files),
        processes=tuple(
            Process(name=each.name, argv=each.argv, env=dict(each.env), ready_socket=each.ready_socket)
            for each in plan.processes
        ),
    )


async def launch(records: Records, record: Record, instructions: Order) -> None:
    """Start the machine and wait until it is furnished, or until another's attempt at that has come to its end.

    :raises LaunchError: it did not start
    """
    directory = records.directory(record.claim_uid)
    while (lock := try_lock(directory / "lock")) is None:
        if records.state(record.claim_uid) == "running":
            return
        await asyncio.sleep(_POLL)
    try:
        await _start(directory, lock, instructions)
    finally:
        os.close(lock)


async def _start(directory: Path, lock: int, instructions: Order) -> None:
    log = directory / "machine.log"
    with log.open("ab") as output:
        begin = output.tell()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *PROGRAM, str(directory), str(lock)),
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"PYTHONPATH": str(_SOURCES), "PATH": os.environ.get("PATH", os.defpath)},
            pass_fds=(lock,),
            start_new_session=True,  # a Ctrl-C meant for the controller is not for its machines
        )
    await _instruct(process, instructions)
    if await process.wait() != 0:
        said = log.read_bytes()[begin:].decode(errors="replace").strip()
        raise LaunchError(said or f"the machine's starter ended with {process.returncode}")


async def _instruct(process: asyncio.subprocess.Process, instructions: Order) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died; its exit code will tell
            process.stdin.write(instructions.encode())
            await process.stdin.drain()
            process.stdin.close()
            await process.stdin.wait_closed()


def resolv_conf(paths: Sequence[Path] = _RESOLV_CONF) -> str:
    """This host's name servers, for pods that need names of the outside.

    A stub on the loopback, such as systemd-resolved's, does not answer a machine; what lies behind it does.
    """
    for path in paths:
        usable = [line for line in _lines(path) if not line.startswith(("nameserver 127.", "nameserver ::1"))]
        if any(line.startswith("nameserver") for line in usable):
            return "\n".join(usable) + "\n"
    return ""


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return []
