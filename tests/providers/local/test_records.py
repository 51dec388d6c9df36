from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from autonodes.provider import ProviderError
from providers.local.machine import identity
from providers.local.records import Record, Records

RECORD = Record(
    claim_uid="0a1b-2c",
    claim_name="default-x",
    cluster="test",
    node_pool="default",
    instance_type="local.small",
    zone="local-a",
    capacity_type="on-demand",
    cpu=1000,
    memory=2**30,
    pods=110,
    address="10.88.0.2",
    node_class_hash="0",
    created_at=1_700_000_000.0,
)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "local")


def test_what_is_added_is_found_until_it_is_forgotten(records: Records) -> None:
    assert records.all() == []
    records.add(RECORD)
    other = replace(RECORD, claim_uid="other")
    records.add(other)
    assert records.load(RECORD.claim_uid) == RECORD
    assert records.all() == [RECORD, other]
    records.forget(other.claim_uid)
    assert records.load("other") is None
    assert records.all() == [RECORD]


def test_what_was_half_written_or_half_removed_is_no_machine(records: Records) -> None:
    records.add(RECORD)
    machines = records.directory(RECORD.claim_uid).parent
    (machines / ".other.new").mkdir()
    (machines / ".another.gone").mkdir()
    assert records.all() == [RECORD]
    records.sweep()
    assert [entry.name for entry in machines.iterdir()] == [RECORD.claim_uid]


def test_a_list_that_would_not_be_complete_is_an_error(records: Records) -> None:
    records.add(RECORD)
    path = records.directory(RECORD.claim_uid) / "machine.json"
    path.write_text("{")
    with pytest.raises(ProviderError, match="can't be read"):
        records.all()
    path.unlink()
    with pytest.raises(ProviderError, match="says nothing"):
        records.all()


@pytest.mark.parametrize("uid", ["", ".", "..", "a/b", "../a", ".hidden", "a" * 64])
def test_what_is_no_uid_is_no_path_either(records: Records, uid: str) -> None:
    with pytest.raises(ProviderError, match="not a UID"):
        records.directory(uid)


def test_a_machine_is_pending_until_its_first_process_says_so_and_stopped_when_that_is_gone(records: Records) -> None:
    uid = RECORD.claim_uid
    records.add(RECORD)
    assert records.state(uid) == "pending"
    directory = records.directory(uid)
    identity.record(str(directory / "init.json"), os.getpid())
    assert records.state(uid) == "pending"
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    identity.confirm(descriptor)
    os.close(descriptor)
    assert records.state(uid) == "running"
    assert records.first_process(uid) == os.getpid()
    text = (directory / "init.json").read_text()
    (directory / "init.json").write_text(text.replace(identity.boot_id(), "an-earlier-boot"))
    assert records.state(uid) == "stopped"
    records.mark_deleting(uid)
    assert records.state(uid) == "terminating"


async def test_a_machine_has_one_caller_at_a_time(records: Records) -> None:
    inside = 0

    async def call() -> None:
        nonlocal inside
        async with records.lock("uid"):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(call() for _ in range(5)))


async def test_locks_of_machines_that_are_gone_leave_no_file(records: Records, tmp_path: Path) -> None:
    async with records.lock("uid"):
        pass
    assert list((tmp_path / "local/locks").iterdir()) == []
    records.add(RECORD)
    async with records.lock(RECORD.claim_uid):
        pass
    assert [path.name for path in (tmp_path / "local/locks").iterdir()] == [RECORD.claim_uid]
