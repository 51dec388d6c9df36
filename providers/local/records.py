"""The machines of one cluster on disk: a directory for each, and the locks that keep callers apart.

A directory appears whole, by a rename, before anything of its machine is started, and goes by a rename when
nothing of it is left; so the directories are the complete list, whoever was killed when. In it:

``machine.json``   what the machine is: the claim that it was bought for, its size and address; never changed
``init.json``      which process it is, written by its starter
``furnished``      that this process has come up
``lock``           held (flock(2)) by its starter and its first process for as long as they live
``deleting``       exists once its removal has begun; from there it only goes forward
``rootfs/``        its file system
``machine.log``    what its first process has to say

Names with a leading dot are being written or are already removed: they mean nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal

from autonodes.provider import ProviderError
from providers.local.machine import identity

State = Literal["pending", "running", "stopped", "terminating"]

_UID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")
_POLL: Final = 0.01
"""Seconds between two looks at a lock that someone else holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a machine is, decided before it boots.

    :param cpu: millicores for pods
    :param memory: bytes for pods
    :param created_at: seconds since the epoch
    """

    claim_uid: str
    claim_name: str
    cluster: str
    node_pool: str
    instance_type: str
    zone: str
    capacity_type: str
    cpu: int
    memory: int
    pods: int
    address: str
    node_class_hash: str
    created_at: float
    gpu_labels: dict[str, str] = field(default_factory=dict)

    @property
    def gpus(self) -> int:
        """Whole ones; what a device plug-in makes of them is the node's business."""
        return int(self.gpu_labels.get("nvidia.com/gpu.count", 0))


class Records:
    """:param directory: ``STATE/local``; made when needed"""

    def __init__(self, directory: Path) -> None:
        self._root, self._machines, self._locks = directory, directory / "machines", directory / "locks"

    def directory(self, claim_uid: str) -> Path:
        """Of one machine.

        :raises ProviderError: that can't be a UID
        """
        if not is_uid(claim_uid):
            raise ProviderError(f"not a UID: {claim_uid!r}")
        return self._machines / claim_uid

    def load(self, claim_uid: str) -> Record | None:
        """None if there is no such machine.

        :raises ProviderError: it can't be read
        """
        path = self.directory(claim_uid) / "machine.json"
        try:
            return Record(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError) as error:
            raise ProviderError(f"{path} can't be read: {error}") from error

    def all(self) -> list[Record]:
        """Every machine, by UID.

        :raises ProviderError: one of them can't be read
        """
        return [record for uid in self.uids() if (record := self._load_listed(uid)) is not None]

    def uids(self) -> list[str]:
        """Every machine's, in order."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(entry.name for entry in self._machines.iterdir() if not entry.name.startswith("."))
        return []

    def _load_listed(self, claim_uid: str) -> Record | None:
        record = self.load(claim_uid)
        if record is None and self.directory(claim_uid).exists():
            raise ProviderError(f"{self.directory(claim_uid)} says nothing of its machine; delete the machine")
        return record

    def add(self, record: Record) -> None:
        """Write it durably, in one step. The caller holds the cluster's lock."""
        aside = self._machines / f".{record.claim_uid}.new"
        _discard(aside)
        aside.mkdir(parents=True, mode=0o700)
        _write_durably(aside / "machine.json", json.dumps(asdict(record), indent=1))
        _sync_directory(aside)
        aside.rename(self.directory(record.claim_uid))
        _sync_directory(self._machines)

    def sweep(self) -> None:
        """Remove what killed callers left half-written or half-removed. The caller keeps others from adding."""
        with contextlib.suppress(FileNotFoundError):
            for entry in self._machines.iterdir():
                if entry.name.startswith("."):
                    _discard(entry)

    def mark_deleting(self, claim_uid: str) -> None:
        """From now on the machine can only go."""
        _write_durably(self.directory(claim_uid) / "deleting", "")

    def forget(self, claim_uid: str) -> None:
        """Drop the directory, in one step; nothing else of the machine is left."""
        directory = self.directory(claim_uid)
        gone = self._machines / f".{claim_uid}.gone"
        _discard(gone)
        directory.rename(gone)
        _discard(gone)

    def state(self, claim_uid: str) -> State:
        """Where a machine that exists is in its life."""
        directory = self.directory(claim_uid)
        if (directory / "deleting").exists():
            return "terminating"
        if not identity.confirmed(str(directory / "init.json")):
            return "pending"
        return "running" if self.first_process(claim_uid) else "stopped"

    def first_process(self, claim_uid: str) -> int | None:
        """The machine's process 1 as this host numbers it, if it lives."""
        return identity.recorded(str(self.directory(claim_uid) / "init.json"))

    @contextlib.asynccontextmanager
    async def lock(self, claim_uid: str) -> AsyncIterator[int]:
        """Keep all other callers, in this process or another, from this machine.

        :returns: the descriptor: whoever inherits it holds the lock too
        """
        self.directory(claim_uid)  # the name is checked there
        self._locks.mkdir(parents=True, exist_ok=True)
        path = self._locks / claim_uid
        descriptor = await _acquire(path)
        try:
            yield descriptor
        finally:
            if not self.directory(claim_uid).exists():
                path.unlink(missing_ok=True)
            os.close(descriptor)

    @contextlib.asynccontextmanager
    async def lock_shared(self, name: str) -> AsyncIterator[int]:
        """Keep all other callers from something that the machines share. Taken after `lock`, one at a time."""
        self._root.mkdir(parents=True, exist_ok=True)
        descriptor = await _acquire(self._root / f"{name}.lock")
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def is_uid(text: str) -> bool:
    """Whether it can be one, and so safely be a file's name."""
    return _UID.fullmatch(text) is not None


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the file's lock until it, and every copy that a child inherited, is closed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


async def _acquire(path: Path) -> int:
    """The lock of a file that its last holder may remove: what we got counts only if it still has its name."""
    while True:
        descriptor = try_lock(path)
        if descriptor is not None:
            if _named(path, descriptor):
                return descriptor
            os.close(descriptor)
        await asyncio.sleep(_POLL)


def _named(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _discard(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
