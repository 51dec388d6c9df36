"""The controller, or a machine's starter, killed (-9) between any two steps."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import uuid
from pathlib import Path

import pytest

from local_machines import Cluster, Idle

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).parents[2] / "local_killed.py"

INSTRUCTED = "after providers.local.launching:_instruct"
CREATING = (
    "before providers.local.records:Records.add",
    "before providers.local.records:_write_durably",
    "after providers.local.records:_write_durably",
    "after providers.local.records:Records.add",
    "before providers.local.lan:Lan.ensure",
    "before providers.local.lan:Lan._furnish_router",
    "after providers.local.lan:Lan.ensure",
    "before providers.local.launching:launch",
    "before providers.local.launching:_instruct",
    INSTRUCTED,
    "after providers.local.launching:launch",
)
STARTING = (
    "after providers.local.machine.order:Order.decode",
    "after providers.local.cgroups:create",
    "after providers.local.cgroups:join",
    "before providers.local.machine.rootfs:seed",
    "after providers.local.machine.rootfs:seed",
    "after providers.local.machine.linux:unshare",
    "before providers.local.machine.identity:record",
    "after providers.local.machine.identity:record",
    "before providers.local.machine.link:connect",
    "after providers.local.machine.link:connect",
    "after providers.local.machine.rootfs:enter",
    "after providers.local.machine.rootfs:furnish",
)
DELETING = (
    "before providers.local.removal:remove",
    "after providers.local.records:Records.mark_deleting",
    "after providers.local.removal:kill",
    "after providers.local.lan:Lan.disconnect",
    "after providers.local.removal:remove_group",
    "before providers.local.records:Records.forget",
    "after pathlib:Path.rename",
    "after providers.local.records:Records.forget",
)


async def killed(local: Cluster, uid: str, call: str, *, die: str = "", starter: str = "") -> int:
    """The exit code of a process that made the call."""
    settings = {
        "state_dir": str(local.context.state_dir),
        "cluster": local.context.cluster,
        "uplink": local.context.uplink,
        "images": [str(path) for path in local.context.images],
        "uid": uid,
        "call": call,
        "die": die,
        "starter": starter,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), json.dumps(settings)),
        cwd=SCRIPT.parents[1],
        env={**os.environ, "PYTHONPATH": f"{SCRIPT.parents[1]}:{SCRIPT.parent}"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    print(said.decode())
    return await process.wait()


async def assert_one_machine(local: Cluster, uid: str) -> None:
    """Asking again leads to one whole machine."""
    machine = await local.create(Idle("node-1"), uid=uid)
    assert machine.state == "running"
    assert [each.claim_uid for each in await local.provider.list()] == [uid]
    assert (await local.inside(machine, "pgrep", "-xcP", "1", "containerd", check=False)).strip() in "01"
    assert (await local.inside(machine, "cat", "/etc/kubernetes/secret")) == "hush"
    await local.delete(machine)


@pytest.mark.parametrize("where", CREATING)
async def test_a_creation_whose_caller_was_killed_is_completed_by_the_next(local: Cluster, where: str) -> None:
    uid = str(uuid.uuid4())
    assert await killed(local, uid, "create", die=where) == -9
    assert len(await local.provider.list()) <= 1
    await assert_one_machine(local, uid)


async def test_images_whose_import_was_killed_are_imported_again(stocked: Cluster) -> None:
    await stocked.provider.close()  # it has begun with them
    shutil.rmtree(stocked.context.state_dir / "local" / "images", ignore_errors=True)
    uid = str(uuid.uuid4())
    assert await killed(stocked, uid, "create", die="before providers.local.images:_finish") == -9
    await assert_one_machine(stocked, uid)


async def test_a_copy_of_the_images_that_was_cut_off_is_made_anew(stocked: Cluster) -> None:
    uid = str(uuid.uuid4())
    where = "after providers.local.machine.rootfs:_copy_images"
    assert (await killed(stocked, uid, "create", die=INSTRUCTED, starter=where)) == -9
    await assert_one_machine(stocked, uid)


@pytest.mark.parametrize("where", STARTING)
async def test_a_starter_and_its_caller_that_were_killed_leave_no_second_machine(local: Cluster, where: str) -> None:
    uid = str(uuid.uuid4())
    code = await killed(local, uid, "create", die=INSTRUCTED, starter=where)
    assert code == -9
    await assert_one_machine(local, uid)


@pytest.mark.parametrize("where", STARTING)
async def test_a_starter_that_was_killed_is_a_failed_launch_that_leaves_nothing(local: Cluster, where: str) -> None:
    uid = str(uuid.uuid4())
    assert await killed(local, uid, "create", starter=where) == 1
    assert await local.provider.list() == []
    assert local.processes(uid) == frozenset()


@pytest.mark.parametrize("where", STARTING)
async def test_a_machine_can_be_deleted_after_any_killed_step(local: Cluster, where: str) -> None:
    uid = str(uuid.uuid4())
    await killed(local, uid, "create", die=INSTRUCTED, starter=where)
    (machine,) = await local.provider.list()
    await local.delete(machine)
    assert await local.provider.list() == []


@pytest.mark.parametrize("where", DELETING)
async def test_a_deletion_whose_caller_was_killed_is_completed_by_the_next(local: Cluster, where: str) -> None:
    machine = await local.create(Idle("node-1"))
    assert await killed(local, machine.claim_uid, "delete", die=where) == -9
    for left in await local.provider.list():
        assert left.state == "terminating" or where.endswith("removal:remove")
    await local.delete(machine)
    assert await local.provider.list() == []
    assert local.processes(machine.claim_uid) == frozenset()
