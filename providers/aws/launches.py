"""Purchases on disk: what was ordered for which claims, from before the order until EC2 shows the machines to all.

Machines are bought in batches, and an order is repeated safely only as it was: the same token for the same claims with
the same content. So the whole order is written down first, and whoever comes to one of its claims, a second caller or
the process after a killed one, carries out that order and makes no other. A claim is in one order at a time; a lock
over the directory keeps two processes from taking it at once.

``BATCH.json`` is an order, readable by its owner only (it holds what the machines join with). It goes when EC2 lists
all of its machines, and nothing in it is needed any more. Lost as a whole, the directory costs no machine: they are
tagged with their claims, and found so once EC2 shows them, seconds later.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from autonodes.provider import ProviderError

State = Literal["written", "ordered", "bought", "settled"]


class Bought(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as EC2 sold it."""

    id: str
    instance_type: str
    zone: str
    image: str = ""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """:param batch: the order's name and idempotency token
    :param claims: UID and name of each; the n-th machine is the n-th claim's
    :param state: ``written``: nothing was bought; ``ordered``: perhaps something was; ``bought``: `machines` is known;
        ``settled``: the machines know who they are, and nothing of the order is left at EC2
    :param machines: None for a claim that got none
    :param places: ``SubnetId`` and ``zone`` of each subnet
    :param template: CreateLaunchTemplate's arguments
    :param fleet: CreateFleet's
    :param created_at: seconds since the epoch
    """

    batch: str
    claims: tuple[tuple[str, str], ...]
    created_at: float
    capacity_type: str
    sizing: str
    state: State = "written"
    machines: tuple[Bought | None, ...] = ()
    places: list[dict[str, str]] = msgspec.field(default_factory=list)
    template: dict[str, Any] = msgspec.field(default_factory=dict)
    fleet: dict[str, Any] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Launch({self.batch}, {self.state}, {[name for _, name in self.claims]})"

    def machine_of(self, claim_uid: str) -> Bought | None:
        """The one that was bought for a claim."""
        for (uid, _), machine in zip(self.claims, self.machines, strict=False):
            if uid == claim_uid:
                return machine
        return None


class Launches:
    """:param directory: ``STATE/aws/launches``; made when needed"""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> list[Launch]:
        """By the time of their order.

        :raises ProviderError: one can't be read
        """
        with contextlib.suppress(FileNotFoundError):
            found = [self._load(path) for path in self._directory.glob("*.json")]
            return sorted((each for each in found if each is not None), key=lambda each: (each.created_at, each.batch))
        return []

    def get(self, batch: str) -> Launch | None:
        """None if it is gone."""
        return self._load(self._path(batch))

    def of(self, claim_uid: str) -> Launch | None:
        """The order that has a claim."""
        return next((each for each in self.all() if any(uid == claim_uid for uid, _ in each.claims)), None)

    def add(self, claims: Iterable[tuple[str, str]], make: Any) -> Launch | None:
        """Write an order for those of the claims that no other order has; None if that is nobody.

        :param make: from a batch's name and its claims to the `Launch`
        """
        with self._lock():
            taken = {uid for each in self.all() for uid, _ in each.claims}
            free = tuple(each for each in claims if each[0] not in taken)
            if not free:
                return None
            launch: Launch = make(secrets.token_hex(10), free)
            self._write(launch)
            return launch

    def advance(self, launch: Launch, state: State, **changes: Any) -> Launch:
        """One step on, unless somebody else was faster; the order as it is then."""
        with self._lock():
            now = self.get(launch.batch)
            if now is None:
                return launch
            if _ORDER.index(now.state) >= _ORDER.index(state):
                return now
            after = msgspec.structs.replace(now, state=state, **changes)
            self._write(after)
            return after

    def release(self, claim_uid: str) -> None:
        """Its machine is gone, or it got none: it may be in another order."""
        with self._lock():
            launch = self.of(claim_uid)
            if launch is None:
                return
            machines = launch.machines or (None,) * len(launch.claims)
            kept = [pair for pair in zip(launch.claims, machines, strict=True) if pair[0][0] != claim_uid]
            if not kept:
                self._path(launch.batch).unlink(missing_ok=True)
                return
            claims, left = zip(*kept, strict=True)
            self._write(msgspec.structs.replace(launch, claims=claims, machines=left if launch.machines else ()))

    def forget(self, batch: str) -> None:
        """Drop the order."""
        with self._lock():
            self._path(batch).unlink(missing_ok=True)

    def _path(self, batch: str) -> Path:
        return self._directory / f"{batch}.json"

    def _load(self, path: Path) -> Launch | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Launch)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise ProviderError(f"{path} can't be read: {error}") from error

    def _write(self, launch: Launch) -> None:
        """Durably, in one step."""
        path = self._path(launch.batch)
        aside = path.with_suffix(".new")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(launch))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        _sync(self._directory)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Held for as long as a file takes to write."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


_ORDER: Sequence[State] = ("written", "ordered", "bought", "settled")


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
